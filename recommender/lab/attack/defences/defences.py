"""Defences with one interface: `step` a batch, read the `top`, save and restore.

    Defence, the interface ──┬── Product: the Pipeline as it is configured
                             └── Raw: every click counts ──┬── forest_defence.ForestDefence
                                                           └── raw_links.RawLinks

`defence_kinds` finds them by name.
"""

import pickle
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.fold.step_result import UNREVISED, Revised
from recommender.core.pipeline import Config, Pipeline
from recommender.core.screen.screen import Verdicts, admitted
from recommender.core.tables import hashing
from recommender.core.trend.place_prices import link_margins
from recommender.core.vocabulary import MINUTE_MS, Kind


class Judged(NamedTuple):
    """Verdicts of a defence on a batch, and new verdicts on events of earlier batches.

    `Revised.ordinal` names an earlier event by its number since the defence's first event.
    """

    verdicts: Verdicts
    revised: Revised = UNREVISED


class Defence(Protocol):
    """Interface of a defence. Scores are in units of a full-weight act made now."""

    def step(self, batch: EventBatch) -> Judged:
        """Judge and learn a batch."""
        ...

    def n_seen(self) -> int:
        """Return the number of events so far, which is the number of the next one."""
        ...

    def advance(self, now_ms: int) -> None:
        """Let time pass without an event."""
        ...

    def top(self, depth: int) -> tuple[list[str], NDArray[np.float64]]:
        """Return the best items and their scores."""
        ...

    def score(self, item: str) -> float:
        """Return an item's score, or 0 if it has none."""
        ...

    def fresh_weight(self) -> float:
        """Return the score that one act of a newcomer adds."""
        ...

    def save(self) -> bytes:
        """Return the whole state as bytes."""
        ...

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Restore a defence from its saved bytes."""
        ...


class Product:
    """The Pipeline as it is configured."""

    def __init__(self, config: Config) -> None:
        self.pipeline = Pipeline(config)

    def step(self, batch: EventBatch) -> Judged:
        result = self.pipeline.step(batch)
        return Judged(result.verdicts, result.revised)

    def n_seen(self) -> int:
        return self.pipeline.n_events

    def advance(self, now_ms: int) -> None:
        """Do nothing: the events carry stream time, and all scores fade alike."""

    def top(self, depth: int) -> tuple[list[str], NDArray[np.float64]]:
        board = self.pipeline.board(depth)
        return board.items, board.scores

    def score(self, item: str) -> float:
        trend = self.pipeline.trend
        key = np.array([self.pipeline.encoder.key(item)], np.uint64)
        row = int(hashing.find_all(trend.items.slots, trend.items.keys, key)[0])
        if row < 0:
            return 0.0
        return max(0.0, float(trend.items["score"][row]) / trend.unit(self.pipeline.stream_ms))

    def fresh_weight(self) -> float:
        return self.pipeline.config.trust.floor

    def beside(self, item: str, depth: int) -> list[str]:
        """Return the items shown next to an item, best first."""
        pipeline = self.pipeline
        keys = pipeline.affinity.neighbours(pipeline.encoder.key(item), pipeline.stream_ms, depth).keys
        items = pipeline.trend.items
        rows = hashing.find_all(items.slots, items.keys, keys).tolist()
        return [pipeline.trend.names[row] if row >= 0 else "" for row in rows]

    def price_beside(self, item: str, place: int, target: str) -> int:
        """Return the fewest new accounts that bring a target next to an item.

        place: the target must be among the first so many items. The number is exact, see `place_prices.link_margins`.
        """
        pipeline, affinity, now_ms = self.pipeline, self.pipeline.affinity, self.pipeline.stream_ms
        source = pipeline.encoder.key(item)
        counts = affinity.neighbours(source, now_ms, place).counts.tolist()
        last = counts[-1] if len(counts) == place else 0
        link = affinity.link(source, pipeline.encoder.key(target))
        unit, fresh, least = affinity.unit(now_ms), affinity.fresh(now_ms), affinity.least(now_ms)
        return link_margins([last], [link], unit, fresh, least, affinity.min_actors)[0][0]

    def recommended(self, actor: int, item: str, depth: int) -> list[str]:
        """Return the items shown to an actor (by key) that opens an item, best first."""
        pipeline = self.pipeline
        found = pipeline.ranking.gather(
            actor, pipeline.stream_ms, recent=pipeline.encoder.keys([item]), steady=pipeline.evaluation.steady
        )
        return [pipeline.trend.names[row] for row in found.rows[:depth].tolist()]

    def save(self) -> bytes:
        return self.pipeline.to_bytes()

    @classmethod
    def restore(cls, data: bytes) -> Self:
        product = cls.__new__(cls)
        product.pipeline = Pipeline.from_bytes(data)
        return product


class Raw:
    """Decayed clicks without a cap and without a filter.

    Kinds of events have the same weights as in the product.
    """

    PRUNE_EVERY_MS = 10 * MINUTE_MS
    GONE = 1e-6

    def __init__(self, config: Config) -> None:
        self._half_ms = 1000.0 * config.half_lives_s[0]
        self._weights = {int(kind): config.kind_weights[kind.name.lower()] for kind in Kind}
        self._weights[int(Kind.UNDO)] = -1.0
        self.now_ms = 0
        self._landmark_ms = 0
        self._prune_ms = 0
        self._row: dict[str, int] = {}
        self._names: list[str] = []
        self._sums = np.zeros(1024)

    def step(self, batch: EventBatch) -> Judged:
        self._count(batch)
        return Judged(admitted(len(batch)))

    def n_seen(self) -> int:
        return 0  # verdicts on past events never change

    def advance(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)
        if self.now_ms >= self._prune_ms:
            self._prune()

    def top(self, depth: int) -> tuple[list[str], NDArray[np.float64]]:
        sums = self._sums[: len(self._names)]
        best = (
            np.argpartition(-sums, min(depth, len(sums) - 1))[:depth] if len(sums) > depth else np.arange(len(sums))
        )
        best = best[np.argsort(-sums[best], kind="stable")]
        return [self._names[row] for row in best.tolist()], sums[best] / self._unit(self.now_ms)

    def score(self, item: str) -> float:
        row = self._row.get(item)
        return 0.0 if row is None else float(self._sums[row] / self._unit(self.now_ms))

    def fresh_weight(self) -> float:
        return 1.0

    def save(self) -> bytes:
        return pickle.dumps(self)  # written by this class, and never leaves the machine

    @classmethod
    def restore(cls, data: bytes) -> Self:
        restored: Self = pickle.loads(data)  # noqa: S301
        return restored

    def _count(self, batch: EventBatch, is_admitted: NDArray[np.bool_] | None = None) -> None:
        if len(batch):
            self.advance(int(batch.received_ms.max()))
        times, kinds = batch.received_ms.tolist(), batch.kind.tolist()
        for i, item in enumerate(batch.item_names):
            weight = self._weights[kinds[i]]
            if weight == 0 or (is_admitted is not None and not is_admitted[i]):
                continue
            row = self._row.get(item)
            if row is None:
                row = self._row[item] = len(self._names)
                self._names.append(item)
                if row == len(self._sums):
                    self._sums = np.concatenate([self._sums, np.zeros(row)])
                self._sums[row] = 0.0
            self._sums[row] = max(0.0, self._sums[row] + weight * self._unit(times[i]))

    def _unit(self, at_ms: int) -> float:
        return float(2.0 ** ((at_ms - self._landmark_ms) / self._half_ms))

    def _prune(self) -> None:
        """Move the landmark to now, and forget items whose score has faded away."""
        passed = min(1000.0, (self.now_ms - self._landmark_ms) / self._half_ms)  # half-lives; a float holds 1023
        sums = self._sums[: len(self._names)] * 2.0**-passed
        keep = np.flatnonzero(sums > self.GONE)
        self._names = [self._names[row] for row in keep.tolist()]
        self._row = {name: row for row, name in enumerate(self._names)}
        self._sums = np.concatenate([sums[keep], np.zeros(1024)])
        self._landmark_ms, self._prune_ms = self.now_ms, self.now_ms + self.PRUNE_EVERY_MS
