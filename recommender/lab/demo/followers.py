"""Readers of the demo who are shown recommendations, and click some of them.

    a reader's click ──now and then──> GET /api/v1/recommendations ──> perhaps a click on one of the places
                                                                  └──> with the next batch: its id and position

A click depends only on the place of a recommendation, and not on its source. So the clicks that a source earns in the
demo mean nothing for a real site. The way from a list to a credited click is the real one. The site's events never
wait for a list that is not answered.
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

SHARE = 0.03  # share of clicks after which the reader looks at recommendations
SHOWN = 5
FIRST_CLICKED = 0.12  # chance that the first place is clicked; each further place has FURTHER times the chance
FURTHER = 0.7
MOST_AT_ONCE = 5  # lists asked for in one batch, so that catching up after a pause does not ask for hundreds


class Followers:
    """Readers who follow recommendations.

    client: has a key with the scope read.
    """

    def __init__(self, client: Client, *, seed: int) -> None:
        self._client = client
        self._random = random.Random(f"followers {seed}")  # noqa: S311

    def follow(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return clicks on recommendations that readers of these events were shown."""
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
