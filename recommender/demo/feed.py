"""Sends what happens in the newsroom to a server while it happens, and tells a person about it.

    Newsroom.events ──a few times a second──> Client.post_events (the same batch again until it is answered)
             └─ new items ──> Client.put_items

A server that is away is waited for; what happened meanwhile is sent afterwards, in order, with its own times. Only
when that is more than MAX_BEHIND_S (a laptop that slept) the site counts as having been closed, and goes on from now.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

from recommender.client import Client, Receipt
from recommender.demo.newsroom import Newsroom

SEND_EVERY_S = 0.25
CATCH_UP_S = 10.0  # of the site's time in one batch, after a pause
MAX_BEHIND_S = 600.0
TELL_EVERY_S = 60.0


class Feed:
    """`say` takes the time (unix seconds) and a sentence. `stop` ends the feed between two batches or in a wait."""

    def __init__(
        self,
        newsroom: Newsroom,
        client: Client,
        *,
        items: Client,
        stop: threading.Event,
        say: Callable[[float, str], None],
    ) -> None:
        self._newsroom, self._client, self._items = newsroom, client, items
        self._stop, self._say = stop, say
        self.receipt = Receipt()
        self._clicks: Counter[str] = Counter()
        self._titles: dict[str, str] = {}
        self._n_told = 0

    def run(self, *, for_s: float | None = None) -> None:
        """Until stopped, or for so many seconds. Raises client.Refused, client.Stopped."""
        newsroom = self._newsroom
        told_at = time.monotonic()
        stop_at = told_at + for_s if for_s is not None else float("inf")
        while not self._stop.is_set() and time.monotonic() < stop_at:
            behind_s = time.time() - newsroom.started_at - newsroom.now_s
            if behind_s > MAX_BEHIND_S:
                newsroom.skip(behind_s)
                self._say(time.time(), f"nothing was sent for {behind_s / 60:.0f} minutes; going on from now")
                continue
            if behind_s > 0:
                self.send(min(behind_s, CATCH_UP_S))
            for at, note in newsroom.take_notes():
                self._say(at, note)
            if time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                self._tell()
            if behind_s < 2 * SEND_EVERY_S:
                self._stop.wait(SEND_EVERY_S)

    def send(self, seconds: float) -> None:
        """What happens on the site in its next seconds: its new items, then the events."""
        events = self._newsroom.events(seconds)
        items = self._newsroom.take_new_items()
        if items:
            self._titles = {item.id: item.title for item in self._newsroom.items}
            self._items.put_items(items)
        if events:
            self.receipt += self._client.post_events(events)
            self._clicks.update(event["item"] for event in events if event["kind"] == "click")

    def _tell(self) -> None:
        n_new, self._n_told = self.receipt.accepted - self._n_told, self.receipt.accepted
        most = [f"'{self._titles.get(item, item)}' ({n})" for item, n in self._clicks.most_common(1)] or ["nothing"]
        trouble = f"; rejected: {dict(self.receipt.rejected)}" if self.receipt.rejected else ""
        self._say(time.time(), f"{n_new:,} events in the last minute; most clicked: {most[0]}{trouble}")
        self._clicks.clear()
