"""Candidates: items an actor might act on next, each with its features.

This module reads only and learns nothing.

    the actor's last items ──> their neighbours (affinity) ─┐
    leaders of the trend ───────────────────────────────────┼──> without items it has seen ──> features, a score
    the steady list ────────────────────────────────────────┘

**The score** is used where no ranker has learned a better one. It is a blend of shares:

    score = S / (sum of S over the board) + blend * sum over the last items, newest first, of recall * strength
    strength = c / (out + smoothing)

S is the trend's score. c is the count of the link from that item, and out is how often any item followed it, both in
units. The trend's share shows what all actors read next, and the strength what the readers of that item read next.
Smoothing keeps a link weak where little is known. A newcomer has no last items, and gets the trend.

An item on which an actor acted a moment ago counts at once. In `predict` (evaluation) these are the actor's earlier
acts of the same step, in `gather` the caller passes them as `recent`. They change only the actor's own next
candidates, and no count.

The settings were chosen on the first million clicks of the news log (see
docs/explanation/recommendations.md for the effect of each part).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommender.core.affinity import Affinity
from recommender.core.affinity.affinity_columns import HISTORY, N_NEIGHBOURS
from recommender.core.ranking import candidate_kernels, gather_kernels, list_kernels
from recommender.core.ranking.gather_kernels import FROM_NEIGHBOURS, FROM_STEADY, FROM_TREND
from recommender.core.trend import Trend
from recommender.core.trend.trend_columns import LIST_DEPTH, Events

__all__ = ["FEATURES", "FROM_NEIGHBOURS", "FROM_STEADY", "FROM_TREND", "Candidates", "Ranking", "RankingConfig"]

# The columns of Candidates.features, float64:
FEATURES = (
    "trend",  # log2 of the score of the served half-life over the highest among the candidates, from -20 to 0
    "slow_trend",  # the same by the next half-life
    "long_trend",  # the same by the last half-life
    "affinity_last",  # strength of the link from the actor's last item, 0 without one
    "affinity_earlier",  # sum of the strengths from the items before
    "affinity",  # sum of all of them, each times `recall`
    "support",  # log2(1 + actors behind the best supported of these links)
    "is_neighbour",  # 0 or 1
    "is_leader",  # 0 or 1: on the board
)
# a power of two, at least the number of candidates
_MOST = 1 << (2 * LIST_DEPTH + HISTORY * N_NEIGHBOURS - 1).bit_length()
_NOTHING = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """Settings of the blend, explained in the module. Raises ValueError.

    recall: the factor of the last item, of the one before and so on, at most HISTORY of them.
    smoothing: units.
    blend: the factor of affinity, added to the trend's share.
    """

    recall: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    smoothing: float = 0.5
    blend: float = 1.6

    def __post_init__(self) -> None:
        if not 0 < len(self.recall) <= HISTORY or not all(0 < each <= 1 for each in self.recall):
            raise ValueError(f"recall must hold 1 to {HISTORY} weights, each above 0 and at most 1")
        if not 0 < self.smoothing <= 1e6 or not 0 <= self.blend <= 1e6:
            raise ValueError("smoothing must be above 0, blend at least 0, and both at most 1000000")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates for one actor, n of them, best first.

    keys: of items, uint64 (n,).
    rows: of the items in Trend.names, int32 (n,).
    features: float64 (n, len(FEATURES)).
    origins: int8 (n,), bits FROM_TREND, FROM_STEADY, FROM_NEIGHBOURS.
    scores: float64 (n,), the blend. Candidates are in this order unless `ordered` changed it.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.int32]
    features: NDArray[np.float64]
    origins: NDArray[np.int8]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.keys)

    def ordered(self, scores: NDArray[np.float64]) -> "Candidates":
        """Return the candidates in the order of other scores, (n,), larger first.

        Candidates with equal scores keep their order.
        """
        by = np.argsort(-scores, kind="stable")
        return Candidates(self.keys[by], self.rows[by], self.features[by], self.origins[by], self.scores[by])


class GatheredLists(NamedTuple):
    """Candidates of many acts, one list below the other, each best first.

    keys, features, scores: as in `Candidates`, (rows, ...).
    of_list: the number of each row's list, int64 (rows,).
    ends: where each list ends, int64 (lists,).
    """

    keys: NDArray[np.uint64]
    features: NDArray[np.float64]
    scores: NDArray[np.float64]
    of_list: NDArray[np.int64]
    ends: NDArray[np.int64]


class Ranking:
    """Candidates from a trend and an affinity. It has no state, only scratch memory."""

    def __init__(
        self, config: RankingConfig, trend: Trend, affinity: Affinity, *, personal_share: float = 1.0
    ) -> None:
        if not 0 <= personal_share <= 1:
            raise ValueError("personal_share must be from 0 to 1")
        self.config = config
        self._asked = np.uint64(min(int(personal_share * 2**64), 2**64 - 1))
        self._trend, self._affinity = trend, affinity
        self._recall = np.array(config.recall)
        self._scratch = candidate_kernels.Scratch(np.zeros(0), np.zeros(0, np.int32))

    def predict(self, events: Events, now_ms: int) -> NDArray[np.int8]:
        """Return the place (1..PLACES + 1) that each event's item had for its actor.

        It is 0 if the event is not the actor's first act on the item, or if the actor is not among those asked. Call
        this before the batch is learned.
        """
        places = np.zeros(len(events.item), np.int8)
        if len(self._scratch.rows) < len(self._trend.items.keys):
            n = len(self._trend.items.keys)
            self._scratch = candidate_kernels.Scratch(np.zeros(n), np.zeros(n, np.int32))
        candidate_kernels.predict(
            tuple(events),
            self._trend.packed,
            self._affinity.packed,
            self._recipe(now_ms),
            tuple(self._scratch),
            self._asked,
            places,
        )
        return places

    def first_acts(self, events: Events, rows: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return which events in `rows` are their actors' first acts on their items.

        int8 (events,), 0 for all others. Call this before the batch is learned.
        """
        return candidate_kernels.first_acts(tuple(events), rows, self._trend.packed)

    def gather(
        self,
        actor: int,
        now_ms: int,
        *,
        recent: NDArray[np.uint64] = _NOTHING,
        steady: NDArray[np.uint64] = _NOTHING,
    ) -> Candidates:
        """Return candidates for an actor, known or not.

        recent: keys of items it acted on that are not learned yet, newest first.
        steady: keys of a further list.
        """
        history = self._affinity.recent(actor)
        last = np.concatenate([recent, history[~np.isin(history, recent)]])
        features = np.zeros((_MOST, len(FEATURES)))
        rows, origins, scores = np.zeros(_MOST, np.int32), np.zeros(_MOST, np.int8), np.zeros(_MOST)
        slow = min(1, self._trend.items.data["counts"].shape[1] - 1)
        n = gather_kernels.gather(
            np.uint64(actor),
            last,
            steady[:LIST_DEPTH],
            slow,
            self._trend.packed,
            self._affinity.packed[2],
            self._recipe(now_ms),
            features,
            rows,
            origins,
            scores,
        )
        keys = self._trend.items.keys[rows[:n]]
        order = np.lexsort((keys, -scores[:n]))
        return Candidates(keys[order], rows[:n][order], features[:n][order], origins[:n][order], scores[:n][order])

    def gather_many(
        self, events: Events, rows: NDArray[np.int64], now_ms: int, *, steady: NDArray[np.uint64] = _NOTHING
    ) -> GatheredLists:
        """Return the candidates that `gather` gives for each of these acts, in its order.

        An actor's earlier acts of the same batch are known. Call this before the batch is learned.
        rows: ascending.
        """
        histories = [self._affinity.recent(actor) for actor in events.actor[rows].tolist()]
        ends = np.cumsum([len(history) for history in histories])
        most = _MOST * len(rows)
        features, keys, scores = np.empty((most, len(FEATURES))), np.empty(most, np.uint64), np.empty(most)
        list_ends = list_kernels.gather_many(
            rows,
            tuple(events),
            np.concatenate(histories),
            ends,
            steady[:LIST_DEPTH],
            min(1, self._trend.items.data["counts"].shape[1] - 1),
            self._trend.packed,
            self._affinity.packed[2],
            self._recipe(now_ms),
            features,
            keys,
            scores,
            _MOST,
        )
        n = int(list_ends[-1])
        of_list = np.repeat(np.arange(len(rows)), np.diff(list_ends, prepend=0))
        order = np.lexsort((keys[:n], -scores[:n], of_list))
        return GatheredLists(keys[order], features[order], scores[order], of_list, list_ends)

    def _recipe(self, now_ms: int) -> candidate_kernels.Recipe:
        affinity = self._affinity
        return candidate_kernels.Recipe(
            affinity.unit(now_ms),
            affinity.least(now_ms),
            affinity.min_actors,
            affinity.epoch,
            self._recall,
            self.config.smoothing,
            self.config.blend,
        )
