"""Candidates: what an actor might act on next, each with what speaks for it. Reads only; learns nothing.

    the actor's last items ──> their neighbours (affinity) ─┐
    leaders of the trend ───────────────────────────────────┼──> without what it has seen ──> features, a score
    the steady list ────────────────────────────────────────┘

**The score**, where no ranker has learned a better one, is a blend of shares:

    score = S / (sum of S over the board) + blend * sum over the last items, newest first, of recall * strength
    strength = c / (out + smoothing)

S is the trend's, c the count of the link from that item, out how often that item was followed by any, both in units:
the trend's share says what anybody reads next, the strength what those read who read that item. The smoothing keeps
a link quiet where little is known. A stranger has no last items, and gets the trend.

An item on which an actor acted a moment ago counts at once: in `predict` (evaluation) what it did earlier in the same
step, in `gather` what the caller passes as `recent`. Only its own next candidates change by that, no count.

Measured on the first million clicks of the news log (see docs/recommendations.md for what each part adds).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.core.affinity import Affinity
from recommender.core.affinity.affinity_kernels import HISTORY, N_NEIGHBOURS
from recommender.core.ranking import candidate_kernels as compiled
from recommender.core.ranking.candidate_kernels import FROM_NEIGHBOURS, FROM_STEADY, FROM_TREND
from recommender.core.trend import Trend
from recommender.core.trend.trend_columns import LIST_DEPTH, Events

__all__ = ["FEATURES", "FROM_NEIGHBOURS", "FROM_STEADY", "FROM_TREND", "Candidates", "Ranking", "RankingConfig"]

# The columns of Candidates.features, float64:
FEATURES = (
    "trend",  # log2 of the score of the served half-life over the highest among the candidates, from -20 to 0
    "slow_trend",  # the same by the next half-life
    "long_trend",  # the same by the last
    "affinity_last",  # strength of the link from the actor's last item, 0 without one
    "affinity_earlier",  # sum of the strengths from those before
    "affinity",  # all of them, each times `recall`
    "support",  # log2(1 + actors behind the best supported of these links)
    "is_neighbour",  # 0 or 1
    "is_leader",  # 0 or 1: on the board
)
_MOST = 1 << (2 * LIST_DEPTH + HISTORY * N_NEIGHBOURS - 1).bit_length()  # a power of two, of candidates at most
_NOTHING = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """recall: what the last item counts for, the one before ..., at most HISTORY of them; smoothing: units; blend: of
    affinity beside the trend's share. See the module. Raises ValueError."""

    recall: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    smoothing: float = 0.5
    blend: float = 1.6

    def __post_init__(self) -> None:
        if not 0 < len(self.recall) <= HISTORY or not all(0 < each <= 1 for each in self.recall):
            raise ValueError(f"recall must be 1 to {HISTORY} weights above 0 and up to 1")
        if not 0 < self.smoothing <= 1e6 or not 0 <= self.blend <= 1e6:
            raise ValueError("smoothing must be positive, the blend not negative, both at most a million")


@dataclass(frozen=True, slots=True)
class Candidates:
    """n candidates, best first. keys: of items, uint64 (n,); rows: theirs in Trend.names, int32 (n,); features:
    float64 (n, len(FEATURES)); origins: int8 (n,), bits FROM_TREND, FROM_STEADY, FROM_NEIGHBOURS; scores: float64
    (n,), the blend, by which they are ordered unless somebody did otherwise."""

    keys: NDArray[np.uint64]
    rows: NDArray[np.int32]
    features: NDArray[np.float64]
    origins: NDArray[np.int8]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.keys)

    def ordered(self, scores: NDArray[np.float64]) -> "Candidates":
        """The same by other scores, (n,), larger first; of one score as they stood."""
        by = np.argsort(-scores, kind="stable")
        return Candidates(self.keys[by], self.rows[by], self.features[by], self.origins[by], self.scores[by])


class Ranking:
    """Reads a trend and an affinity; has no state of its own but room to compute in."""

    def __init__(
        self, config: RankingConfig, trend: Trend, affinity: Affinity, *, personal_share: float = 1.0
    ) -> None:
        if not 0 <= personal_share <= 1:
            raise ValueError("the share of actors whose own list is asked is from 0 to 1")
        self.config = config
        self._asked = np.uint64(min(int(personal_share * 2**64), 2**64 - 1))
        self._trend, self._affinity = trend, affinity
        self._recall = np.array(config.recall)
        self._scratch = compiled.Scratch(np.zeros(0), np.zeros(0, np.int32))

    def predict(self, events: Events, now_ms: int) -> NDArray[np.int8]:
        """The place (1..PLACES, or PLACES + 1) that each event's item had for its actor before the batch; 0 where it
        is not the actor's first act on it, or its actor is not among those asked. To be asked before the batch is
        learned. 6 us an event of those asked."""
        places = np.zeros(len(events.item), np.int8)
        if len(self._scratch.rows) < len(self._trend.items.keys):
            n = len(self._trend.items.keys)
            self._scratch = compiled.Scratch(np.zeros(n), np.zeros(n, np.int32))
        compiled.predict(
            tuple(events),
            self._trend.packed,
            self._affinity.packed[0],
            self._affinity.packed[2],
            self._recipe(now_ms),
            tuple(self._scratch),
            self._asked,
            places,
        )
        return places

    def first_acts(self, events: Events, rows: NDArray[np.int64]) -> NDArray[np.int8]:
        """Which of the events in `rows` are their actors' first on their items, int8 (events,), 0 for all others. To
        be asked before the batch is learned. 1 us a row."""
        return compiled.first_acts(tuple(events), rows, self._trend.packed)

    def gather(
        self,
        actor: int,
        now_ms: int,
        *,
        recent: NDArray[np.uint64] = _NOTHING,
        steady: NDArray[np.uint64] = _NOTHING,
    ) -> Candidates:
        """Candidates for an actor, known or not. recent: keys of items it acted on that are not learned yet, newest
        first. steady: keys of a further list. 30 us."""
        history = self._affinity.recent(actor)
        last = np.concatenate([recent, history[~np.isin(history, recent)]])
        features = np.zeros((_MOST, len(FEATURES)))
        rows, origins, scores = np.zeros(_MOST, np.int32), np.zeros(_MOST, np.int8), np.zeros(_MOST)
        slow = min(1, self._trend.items.data["counts"].shape[1] - 1)
        n = compiled.gather(
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

    def _recipe(self, now_ms: int) -> compiled.Recipe:
        affinity = self._affinity
        return compiled.Recipe(
            affinity.unit(now_ms),
            affinity.least(now_ms),
            affinity.min_actors,
            affinity.epoch,
            self._recall,
            self.config.smoothing,
            self.config.blend,
        )
