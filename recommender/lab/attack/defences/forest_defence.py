"""Isolation forest on plain activity per actor, as many sites build it.

    actor ──> acts, items, share of its first item, seconds between acts, acts in the last minute ──> IForest ──> drop

It uses two-sided raw counts, and a threshold that always flags 1 % of the actors it was fitted on. It is refitted on
the traffic that it let through itself. So an attack that gets through teaches the forest that it is normal.

This is a baseline to compare with, and not a part of the product. The product's forest is fitted on cleared traffic
with one-sided features, and works on top of caps and trust.
"""

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.pipeline import Config
from recommender.core.screen.screen import Verdicts
from recommender.core.vocabulary import MINUTE_MS, SECOND_MS, Verdict
from recommender.lab.attack.defences.defences import Judged, Raw

N_FEATURES = 6
REFIT_EVERY_MS = 30 * MINUTE_MS
JUDGE_EVERY_MS = 10 * SECOND_MS
MAX_ACTORS, FIT_ACTORS, MIN_ACTORS = 20_000, 4_000, 200
FLAGGED_SHARE = 0.01
N_TREES = 25


class ForestDefence(Raw):
    """`Raw` behind a forest.

    An actor is judged a few seconds after its first acts. If it is flagged, its later events are dropped.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # actor: first and last act (ms), acts, items, acts on its first item, its first item, acts of the last minute
        self._actors: OrderedDict[int, list[float]] = OrderedDict()
        self._items: dict[int, set[int]] = {}
        self._flagged: OrderedDict[int, None] = OrderedDict()
        self._fresh: set[int] = set()  # actors that have acted since they were judged
        self._forest: _Trees | None = None
        self._threshold = np.inf
        self._refit_ms = self._judge_ms = 0

    def step(self, batch: EventBatch) -> Judged:
        actors, items, times = batch.actor.tolist(), batch.item.tolist(), batch.received_ms.tolist()
        for actor, item, at_ms in zip(actors, items, times, strict=True):
            self._note(actor, item, at_ms)
        now_ms = times[-1] if times else self.now_ms
        if now_ms >= self._judge_ms:
            self._judge()
            self._judge_ms = now_ms + JUDGE_EVERY_MS
        if now_ms >= self._refit_ms and len(self._actors) >= MIN_ACTORS:
            self._refit()
            self._refit_ms = now_ms + REFIT_EVERY_MS
        is_flagged = np.array([actor in self._flagged for actor in actors], bool)
        self._count(batch, ~is_flagged)
        verdict = np.where(is_flagged, int(Verdict.QUARANTINE), int(Verdict.ADMIT)).astype(np.int8)
        return Judged(Verdicts(verdict, is_flagged.astype(np.float32), np.zeros(len(verdict), np.int32)))

    def _note(self, actor: int, item: int, at_ms: int) -> None:
        state = self._actors.get(actor)
        if state is None:
            state = self._actors[actor] = [at_ms, at_ms, 0, 0, 0, item, 0.0]
            self._items[actor] = set()
            if len(self._actors) > MAX_ACTORS:
                gone, _ = self._actors.popitem(last=False)
                del self._items[gone]
                self._fresh.discard(gone)
        self._actors.move_to_end(actor)
        state[6] = state[6] * 2.0 ** ((state[1] - at_ms) / MINUTE_MS) + 1
        state[1] = at_ms
        state[2] += 1
        state[4] += item == state[5]
        seen = self._items[actor]
        if len(seen) < 100:
            seen.add(item)
        state[3] = len(seen)
        self._fresh.add(actor)

    def _features(self, actors: list[int]) -> NDArray[np.float64]:
        states = np.array([self._actors[actor] for actor in actors], np.float64).reshape(-1, N_FEATURES + 1)
        first, last, acts, items, on_first, _, minute = states.T
        gap = (last - first) / 1000 / np.maximum(acts - 1, 1)
        return np.column_stack([acts, items, on_first / acts, items / acts, gap, minute])

    def _judge(self) -> None:
        if self._forest is None:
            self._fresh.clear()
            return
        actors = sorted(self._fresh - self._flagged.keys())
        self._fresh.clear()
        if not actors:
            return
        scores = self._forest.scores(self._features(actors))
        for row in np.flatnonzero(scores > self._threshold).tolist():
            self._flagged[actors[row]] = None
        while len(self._flagged) > MAX_ACTORS:
            self._flagged.popitem(last=False)

    def _refit(self) -> None:
        accepted = [actor for actor in self._actors if actor not in self._flagged][-FIT_ACTORS:]
        if len(accepted) < MIN_ACTORS:
            return
        from pyod.models.iforest import IForest  # noqa: PLC0415  two seconds, and only a fit needs it

        features = self._features(accepted)
        self._forest = _Trees(IForest(n_estimators=N_TREES, random_state=0).fit(features))
        self._threshold = float(np.quantile(self._forest.scores(features), 1 - FLAGGED_SHARE))


class _Trees:
    """The trees of a fitted `IForest`, without the rest of it.

    PyOD's own `decision_function` is fifty times as slow for a few actors every few seconds, because of its checks
    and thread pools. The order of the scores is the same.
    """

    def __init__(self, forest: Any) -> None:
        self._trees = [(each.tree_, _path_lengths(each.tree_)) for each in forest.detector_.estimators_]

    def scores(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return minus the mean length of the path to each actor's leaf: float64 (n,).

        A higher score is more anomalous.
        """
        rows = np.ascontiguousarray(features, np.float32)
        total = np.zeros(len(rows))
        for tree, lengths in self._trees:
            total -= lengths[tree.apply(rows)]
        return total / len(self._trees)


def _path_lengths(tree: Any) -> NDArray[np.float64]:
    """Return the splits above each node, plus those that its samples would still take.

    Formula: Liu, Ting and Zhou, 2008, eq. 1.
    """
    n = tree.n_node_samples.astype(np.float64)
    depth = np.zeros(len(n))
    for node, (left, right) in enumerate(zip(tree.children_left.tolist(), tree.children_right.tolist(), strict=True)):
        if left >= 0:  # parents come before their children
            depth[left] = depth[right] = depth[node] + 1
    further = 2 * (np.log(np.maximum(n - 1, 1)) + np.euler_gamma) - 2 * (n - 1) / n
    return depth + np.where(n > 2, further, np.where(n == 2, 1.0, 0.0))
