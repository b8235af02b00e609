"""Seeded worlds with known answers.

Times are unix milliseconds. T0 is midnight, 2026-01-05.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from recommender.core.events import EventBatch
from recommender.core.pipeline import Config, Pipeline
from recommender.core.screen import ScreenConfig
from recommender.core.trust import TrustConfig
from recommender.core.vocabulary import Kind

T0 = 1_767_571_200_000
MINUTE = 60_000
HOUR = 60 * MINUTE
# Every actor weighs the same and no one is on the canary panel, because these tests are about the counting.
SMALL = Config(
    half_lives_s=(300, 3600),
    horizon_s=6 * 3600,
    actor_budget=50,
    lateness_s=6 * 3600,
    trust=TrustConfig(floor=1.0),
    screen=ScreenConfig(is_on=False),
    canary_share=0.0,
)
SCREENED = replace(SMALL, screen=ScreenConfig(cold_events=200, fit_rows=20, fit_every_s=600, fit_after_s=60))
TRUSTING = replace(SMALL, trust=TrustConfig())


@dataclass
class Stream:
    """Rows of events that `batch` turns into columns for a Pipeline."""

    rows: list[tuple[int, int, str, str, Kind, int]] = field(default_factory=list)

    def add(self, at_ms, actor, item, kind=Kind.CLICK, *, received_ms=None, country=0):
        """Add an act at `at_ms`, received at the same time unless `received_ms` is given."""
        self.rows.append((received_ms if received_ms is not None else at_ms, at_ms, actor, item, kind, country))
        return self

    def batch(self, pipeline: Pipeline, start=0, end=None) -> EventBatch:
        received, occurred, actors, items, kinds, countries = zip(*self.rows[start:end], strict=True)
        return pipeline.encode(
            received_ms=received, occurred_ms=occurred, actors=actors, items=items, kind=kinds, country=countries
        )


def stream_of(rows) -> Stream:
    """Make a stream of rows as hypothesis draws them.

    A row is (gap to the act before, delay, actor, item, kind).
    """
    stream, now = Stream(), T0
    for gap, late, actor, item, kind in rows:
        now += gap // 20
        stream.add(now - late, actor, item, kind, received_ms=now)
    return stream


def readers(n_events=2000, n_actors=200, n_items=60, seconds=7200, seed=1) -> Stream:
    """Make honest readers of a small site.

    Popular items are popular, and every reader comes back.
    """
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, seconds * 1000, n_events))
    popularity = 1 / np.arange(1, n_items + 1)
    items = rng.choice(n_items, n_events, p=popularity / popularity.sum())
    actors = rng.integers(0, n_actors, n_events)
    stream = Stream()
    for when, actor, item in zip(at.tolist(), actors.tolist(), items.tolist(), strict=True):
        stream.add(T0 + when, f"reader-{actor}", f"item-{item}", country=int(actor % 3))
    return stream


def pushes(n_bots=40, items=("push-0", "push-1"), seed=1, start_s=4000, apart_s=900, **honest) -> Stream:
    """Make the readers, and Mal's fresh accounts.

    All of the accounts click on each of Mal's items in turn, within 60 s.
    """
    rng = np.random.default_rng(seed)
    stream = readers(**{"n_events": 3000, "n_actors": 1500, "seed": seed} | honest)
    for number, item in enumerate(items):
        for bot in range(n_bots):
            at_ms = T0 + 1000 * (start_s + number * apart_s) + int(rng.integers(0, 60_000))
            stream.add(at_ms, f"mal-{bot}", item)
    stream.rows.sort(key=lambda row: row[0])
    return stream


def fold(stream: Stream, config: Config = SMALL, *, every: int = 100) -> Pipeline:
    """Return a Pipeline that learned the stream in steps of `every` rows."""
    pipeline = Pipeline(config)
    for start in range(0, len(stream.rows), every):
        pipeline.step(stream.batch(pipeline, start, start + every))
    return pipeline


def score(pipeline: Pipeline, item: str, half: int = 0) -> float:
    """Return an item's score in units, or 0.0 if it has none."""
    trend = pipeline.trend
    if item not in trend.names:
        return 0.0
    return trend.counts(half)[trend.names.index(item)] / trend.unit(pipeline.stream_ms, half)


class AddressedStream(Stream):
    """A stream with an address per row, or None if it is unknown."""

    def add(self, at_ms, actor, item, kind=Kind.CLICK, *, received_ms=None, country=0, ip=None):
        received_ms = received_ms if received_ms is not None else at_ms
        self.rows.append((received_ms, at_ms, actor, item, kind, country, ip))
        return self

    def batch(self, pipeline: Pipeline, start=0, end=None) -> EventBatch:
        received, occurred, actors, items, kinds, countries, ips = zip(*self.rows[start:end], strict=True)
        return pipeline.encode(
            received_ms=received,
            occurred_ms=occurred,
            actors=actors,
            items=items,
            kind=kinds,
            country=countries,
            ips=ips,
        )


def addressed(stream: Stream, ip_of) -> AddressedStream:
    """Return a stream whose actors have the addresses `ip_of(actor)`."""
    return AddressedStream([(*row, ip_of(row[2])) for row in stream.rows])
