"""Endless seeded traffic of a site that has many readers, in batches.

Most readers come once and never again. Others come back: soon, within the same visit, or much later. Most acts are on
young items, and a few of these are far more popular than the rest. The stream needs no memory that grows, so that a
measured process holds the learner and nothing else.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from recommender.core.vocabulary import Kind
from recommender.lab.bench.event_stream import address, agent

EVENTS_AN_ACTOR = 4
VISIT = 20_000  # actors within which most returns happen
REGULAR = 4  # one in so many actors comes back on later days
START_MS = 1_760_000_000_000
_KINDS = np.array([Kind.CLICK, Kind.VIEW, Kind.LIKE], np.int8)


class GrownSite:
    """Batches for `Pipeline.encode` of a site that grows to so many readers and items.

    After that no new item comes, and one event in ten is by a new reader.
    """

    def __init__(self, n_actors: int, n_items: int, *, rate: float, seed: int) -> None:
        self.n_actors, self.n_items = n_actors, n_items
        self._rng = np.random.default_rng(seed)
        self._every_ms = 1000 / rate
        self._seen, self.n_events = 1, 0
        self._now_ms = float(START_MS)

    @property
    def is_grown(self) -> bool:
        return self._seen >= self.n_actors

    def batches(self, size: int, *, rate: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield batches of `size` events each, for ever.

        rate: events a second of stream time. Default: that of the site.
        """
        every_ms = self._every_ms if rate is None else 1000 / rate
        while True:
            yield self._batch(size, every_ms)

    def _batch(self, size: int, every_ms: float) -> dict[str, Any]:
        rng = self._rng
        is_new = rng.random(size) < (0.1 if self.is_grown else 1 / EVENTS_AN_ACTOR)
        newest = self._seen + np.cumsum(is_new)
        soon = rng.exponential(VISIT, size)
        later = newest ** rng.random(size)
        lag = np.where(rng.random(size) < 0.75, soon, later).astype(np.int64)
        actor = np.maximum(newest - lag, 0)
        actor = np.where(lag > 3 * VISIT, actor - actor % REGULAR, actor)
        actor = np.where(is_new, newest, actor)
        self._seen = int(newest[-1])
        published = max(100, int(self.n_items * min(1.0, self._seen / self.n_actors)))
        age = rng.exponential(published / 20, size) * (rng.random(size) < 0.8) + published * rng.random(size) ** 3
        item = np.maximum(published - 1 - age.astype(np.int64), 0)
        item = np.where(rng.random(size) < 0.6, item - item % 40, item)
        received = self._now_ms + every_ms * np.arange(size)
        self._now_ms = float(received[-1] + every_ms)
        self.n_events += size
        actors = actor.tolist()
        return {
            "received_ms": received.astype(np.int64),
            "actors": [f"reader-{each}" for each in actors],
            "items": [f"item-{each}" for each in item.tolist()],
            "kind": rng.choice(_KINDS, size=size, p=(0.75, 0.2, 0.05)),
            "sessions": [f"s{each}" for each in actors],
            "ips": [address(each) for each in actors],
            "user_agents": [agent(each) for each in actors],
        }
