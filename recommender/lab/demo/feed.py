"""Send the events of the invented site as they happen, and report them.

    Newsroom.events, or Programme's ──at once──> Client.post_events (the same batch again until it is answered)
             ├─ new items ──> Client.put_items, first
             └─ clicks ──> Followers: clicks on recommended items, with the next batch

If the server is away, the feed waits. The events of that time are sent afterwards, in order and with their own times.
If that time is longer than MAX_BEHIND_S (a laptop that slept), the site counts as closed and goes on from now.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from recommender.lab.client import Client, Receipt
from recommender.lab.demo.followers import Followers
from recommender.lab.demo.newsroom import Newsroom
from recommender.lab.demo.timetable import Programme

SEND_EVERY_S = 0.25
CATCH_UP_S = 10.0  # time of the site in one batch, after a pause
MAX_BEHIND_S = 600.0
TELL_EVERY_S = 60.0


class Feed:
    """Sends the events of a site.

    say: takes the time (unix seconds) and a sentence.
    stop: ends the feed between two batches or in a wait.
    between: is called a few times a second.
    """

    def __init__(
        self,
        site: Newsroom | Programme,
        client: Client,
        *,
        items: Client,
        followers: Followers | None = None,
        stop: threading.Event,
        say: Callable[[float, str], None],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._site, self._client, self._items = site, client, items
        self._followers = followers
        self._followed: list[dict[str, Any]] = []
        self._stop, self._say, self._between = stop, say, between
        self.receipt = Receipt()
        self._clicks: Counter[str] = Counter()
        self._titles: dict[str, str] = {}
        self._n_told = 0

    def run(self, *, for_s: float | None = None) -> None:
        """Send until stopped, or for so many seconds.

        Raises client.Refused, client.Stopped.
        """
        site = self._site
        told_at = time.monotonic()
        stop_at = told_at + for_s if for_s is not None else float("inf")
        while not self._stop.is_set() and time.monotonic() < stop_at:
            self._between()
            behind_s = time.time() - site.started_at - site.now_s
            if behind_s > MAX_BEHIND_S:
                site.skip(behind_s)
                self._say(
                    time.time(), f"nothing was sent for {behind_s / 60:.0f} minutes, so the site goes on from now"
                )
                continue
            if behind_s > 0:
                self.send(min(behind_s, CATCH_UP_S))
            for at, note in site.take_notes():
                self._say(at, note)
            if time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                self._tell()
            if behind_s < 2 * SEND_EVERY_S:
                self._stop.wait(SEND_EVERY_S)

    def send(self, seconds: float) -> None:
        """Send the next seconds of the site: first its new items, then the events."""
        events = self._site.events(seconds)
        items = self._site.take_new_items()
        if items:
            self._titles = {item.id: item.title for item in self._site.items}
            self._titles |= {item["id"]: item["title"] for item in items}
            self._items.put_items(items)
        if events:
            self.receipt += self._client.post_events([*events, *self._followed])
            self._followed = self._followers.follow(events) if self._followers else []
            self._clicks.update(event["item"] for event in events if event["kind"] == "click")

    def _tell(self) -> None:
        n_new, self._n_told = self.receipt.accepted - self._n_told, self.receipt.accepted
        most = [f"'{self._titles.get(item, item)}' ({n})" for item, n in self._clicks.most_common(1)] or ["nothing"]
        trouble = f", rejected: {dict(self.receipt.rejected)}" if self.receipt.rejected else ""
        self._say(time.time(), f"{n_new:,} events in the last minute, most clicked: {most[0]}{trouble}")
        self._clicks.clear()
