"""Write the excerpt of items and links into the store, for the learner.

    trend: scores by half-life ─────────────────────────────┐
    affinity: links shown ──────────────────────────────────┼──> `excerpt.Message` ──> store: a field a shard
    catalogue: items that may be listed, categories, times ─┤
    ranker: the order that does best, its weights ──────────┘

The excerpt is written whole, and so that it takes no more than WRITE_SHARE of the time. After a step it is written at
most every WRITE_EVERY_S. A change of the catalogue does not wait for that, and a frozen learner writes it too. So an
item that was hidden or deleted leaves the lists at once.
"""

from itertools import accumulate
from math import inf
from typing import Any

import msgspec
import numpy as np

from recommender import database_clock
from recommender.core.affinity.published_links import published_links
from recommender.core.pipeline import Pipeline
from recommender.core.ranking.list_scores import Weights
from recommender.process_state import clock
from recommender.publishing.excerpt import EXCERPTS, MAY_BE_LISTED, VERSIONS, Message
from recommender.publishing.item_catalogue import Listing

WRITE_EVERY_S = 0.5
WRITE_SHARE = 0.1
_UNKNOWN = Listing(False, 0.0, ())


class ExcerptWriter:
    """The writer of one shard's excerpt.

    is_stale: the catalogue has changed since the last excerpt.
    """

    def __init__(self, shard: int, store: Any) -> None:
        self.shard = shard
        self._store = store
        self._due_at = self._rested_at = -inf
        self._step = -1
        self.is_stale = True

    def note_change(self, is_changed: bool = True) -> None:
        """Remember that the catalogue changed, until an excerpt is written."""
        self.is_stale |= is_changed

    def write(self, pipeline: Pipeline, step: int, as_of: float, listings: dict[str, Listing]) -> None:
        """Write the excerpt if it is due, and if it is new or the store lost it.

        It is new if something was learned, or if the catalogue changed. Raises the errors of the store.
        """
        began_at = clock()
        if began_at < (self._rested_at if self.is_stale else self._due_at):
            return
        if self.is_stale or step != self._step or not self._store.hexists(VERSIONS, str(self.shard)):
            message = make_message(pipeline, int(1e6 * database_clock.unix_s()), as_of, listings)
            with self._store.pipeline() as both:
                both.hset(EXCERPTS, str(self.shard), msgspec.msgpack.encode(message))
                both.hset(VERSIONS, str(self.shard), str(message.version))
                both.execute()
            self._step, self.is_stale = step, False
        took_s = clock() - began_at
        self._rested_at = began_at + took_s / WRITE_SHARE
        self._due_at = max(began_at + WRITE_EVERY_S, self._rested_at)


def make_message(pipeline: Pipeline, version: int, as_of: float, listings: dict[str, Listing]) -> Message:
    """Return the pipeline's current excerpt, of every item that the trend knows."""
    trend, now_ms, ranking = pipeline.trend, pipeline.stream_ms, pipeline.config.ranking
    names = list(trend.names)
    told = [listings.get(name, _UNKNOWN) for name in names]
    categories: dict[str, int] = {}
    of_items = [[categories.setdefault(each, len(categories)) for each in listing.categories] for listing in told]
    links = published_links(pipeline.affinity, trend, now_ms, ranking.smoothing)
    return Message(
        version=version,
        as_of=as_of,
        names=names,
        flags=bytes(0 if each.is_hidden or each.published_at > as_of else MAY_BE_LISTED for each in told),
        published_s=np.array([each.published_at for each in told], np.float64).tobytes(),
        categories=list(categories),
        category_ends=np.array([*accumulate(map(len, of_items))], np.uint32).tobytes(),
        category_of=np.array([each for several in of_items for each in several], np.uint16).tobytes(),
        trend=_scores(pipeline).tobytes(),
        half_lives_s=list(pipeline.config.half_lives_s),
        sources=links.sources.astype(np.uint32).tobytes(),
        ends=links.ends.astype(np.uint32).tobytes(),
        targets=links.targets.astype(np.uint32).tobytes(),
        strengths=links.strengths.tobytes(),
        actors=links.actors.astype(np.uint32).tobytes(),
        prices=links.prices.astype(np.uint32).tobytes(),
        recall=list(ranking.recall),
        blend=ranking.blend,
        mode=pipeline.ranker.mode,
        weights=_packed(pipeline.ranker.export()),
    )


def _packed(weights: Weights) -> bytes:
    values = np.concatenate([weights.mean, weights.scale, weights.coefficients, [weights.intercept]])
    return values.astype(np.float64).tobytes()


def _scores(pipeline: Pipeline) -> np.ndarray:
    """Return the scores in units of each half-life, float32 (items, halves)."""
    trend, now_ms = pipeline.trend, pipeline.stream_ms
    halves = range(len(pipeline.config.half_lives_s))
    return np.column_stack([trend.counts(half) / trend.unit(now_ms, half) for half in halves]).astype(np.float32)
