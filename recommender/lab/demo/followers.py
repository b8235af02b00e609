"""Readers of the demo who are shown recommendations, and follow some of them.

    a reader's click ──now and then──> GET /api/v1/recommendations ──> perhaps a click on one of the places
                                                                  └──> with the next batch: its id and position

What is clicked does not depend on where the recommendation came from, only on how far up it stood: which source earns
its clicks in the demo says nothing of a real site, but the way from a list to a credited click is the real one. No
event of the site waits for a list that is not answered.
"""

import contextlib
import http.client
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from recommender.lab.client import Client

SHARE = 0.03  # of clicks are followed by a look at what else there is
SHOWN = 5
FIRST_CLICKED = 0.12  # how likely the first place is clicked; each further one less
FURTHER = 0.7
MOST_AT_ONCE = 5  # lists asked for in one batch: who catches up after a pause does not ask for hundreds


class Followers:
    """`client`: with a key that may read."""

    def __init__(self, client: Client, *, seed: int) -> None:
        self._client = client
        self._random = random.Random(f"followers {seed}")  # noqa: S311

    def follow(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Clicks on what readers of these events were recommended."""
        looking = [each for each in events if each["kind"] == "click" and self._random.random() < SHARE]
        clicks = [self._look(each) for each in looking[:MOST_AT_ONCE]]
        return [click for click in clicks if click is not None]

    def _look(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        asked = urlencode({"actor": event["actor"], "item": event["item"], "limit": SHOWN})
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = self._client.request("GET", f"/api/v1/recommendations?{asked}")
            if answer.status == http.client.OK:
                return self._choose(event, orjson.loads(answer.body))
        return None

    def _choose(self, event: Mapping[str, Any], shown: dict[str, Any]) -> dict[str, Any] | None:
        for position, place in enumerate(shown["items"]):
            if self._random.random() < FIRST_CLICKED * FURTHER**position:
                return {
                    **{name: event[name] for name in ("actor", "session", "context") if name in event},
                    "event_id": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
                    "item": place["item"],
                    "kind": "click",
                    "recommendation": shown["recommendation"],
                    "position": position,
                }
        return None
