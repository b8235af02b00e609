"""Prequential evaluation: predict every event before learning from it.

Before a step is learned, each of its events is compared with the current list. When an actor acts on an item for the
first time, is that item among the first 20 that the actor has not seen? The hit rate (HR@20) and the mean reciprocal
rank (MRR@20) over all such events show how good the list is. No data need be set aside. The figures of the last
hours show whether the list is getting worse.

    step ──> ranks in the lists, and who asked, by `fold` ──> counts of places, in all and by hour

- `trending`: the list that was served.
- `daily`: yesterday's most read items, rebuilt at midnight of stream time. It is the yardstick of a model trained in
  a nightly batch.
- `steady`: the best by the next longer half-life, rebuilt every STEADY_MS. It learns more slowly and costs more to
  rig.
- `personalised`: by `candidates`, one list per actor. It already knows the actor's earlier acts of the same step, as
  the actor's own history. Those acts count nowhere else yet.
- `ranked`: the same candidates in the order that is served, which is `ranker` unless bypassed. It is measured only
  on the acts that the ranker learns from, a few in a hundred.

Three populations are measured apart, since an attacker who floods a site takes part in its evaluation:

- **all**: everybody admitted.
- **trusted**: actors who weighed at least a half when they acted. Only days of activity can raise their number (see
  `trust`). So a crowd of fresh accounts does not show here, whether it hits or misses.
- **canary**: a secret panel, the actors whose keyed hash falls below `share` of its range. Their acts are predicted
  and remembered as seen, but train nothing: no unit, no trust, no place in the daily list. A model that learned its
  own attackers looks good to them, but the panel had no part in training it. The panel is as open to noise as `all`
  is, because a flood has its share of canaries too. Anyone who can watch a score move by one fresh act can find out
  whether their own account is on the panel. They cannot find out about another account.

Answers are kept as counts of places. So every metric is exact, and the state does not depend on the order of sums.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommender.core.quality.place_counts import tally
from recommender.core.tables import Table, hashing
from recommender.core.tables.table import strongest
from recommender.core.trend import trend_columns
from recommender.core.trend.trend_columns import LIST_DEPTH, PLACES
from recommender.core.vocabulary import DAY_MS, HOUR_MS, SECOND_MS

LISTS = ("trending", "daily", "steady", "personalised", "ranked")
POPULATIONS = ("all", "trusted", "canary")
MAX_CANARY_SHARE = 0.5
STEADY_MS = 30 * SECOND_MS
WINDOW_HOURS = 24
_SHAPE = (len(POPULATIONS), len(LISTS), PLACES + 2)


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of a list, as counts of places.

    places: int64 (PLACES + 2,), events by the place of their item. Index 0 is unused, the last are the misses.
    """

    places: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Return the number of predictions made."""
        return int(self.places.sum())

    @property
    def hits(self) -> int:
        """Return the number of items found in the first 20 places."""
        return int(self.places[1 : PLACES + 1].sum())

    @property
    def reciprocal_ranks(self) -> float:
        """Return the sum of 1/place over the hits."""
        return float((self.places[1 : PLACES + 1] / np.arange(1, PLACES + 1)).sum())

    @property
    def hit_rate(self) -> float:
        """Return HR@20, in [0, 1], or 0 without predictions."""
        return self.hits / self.n if self.n else 0.0

    @property
    def mean_reciprocal_rank(self) -> float:
        """Return MRR@20, in [0, 1], or 0 without predictions."""
        return self.reciprocal_ranks / self.n if self.n else 0.0


NOTHING = Quality(np.zeros(PLACES + 2, np.int64))


class Answers(NamedTuple):
    """Quality of a batch's predictions.

    The first three are of `trending` by population, the last is of `personalised`.
    """

    everybody: Quality
    trusted: Quality
    canary: Quality
    personalised: Quality


class Evaluation:
    """Hold the lists and the answers.

    Memory is bounded: of today's reads at most `max_items` are kept, and the least read are evicted first.

    canary_share: share of actors on the panel, in [0, 0.5]. Raises ValueError outside that range.
    """

    def __init__(self, *, max_items: int, canary_share: float = 0.0) -> None:
        if not 0 <= canary_share <= MAX_CANARY_SHARE:
            raise ValueError(f"canary_share, the canary panel's share of actors, must be 0 to {MAX_CANARY_SHARE}")
        self._max_items = max_items
        self._panel = np.array([int(canary_share * 2**64)], np.uint64)
        self._day = 0
        self._daily = np.empty(0, np.uint64)
        self._steady = np.empty(0, np.uint64)
        self._steady_due_ms = 0
        self._reads = Table({"reads": (np.int64, ())})
        self._places = np.zeros(_SHAPE, np.int64)
        self._window = np.zeros((WINDOW_HOURS, *_SHAPE), np.int64)
        self._hour = 0

    def advance(self, now_ms: int) -> None:
        """Move to stream time, and at midnight make today's most read the daily list."""
        day, hour = now_ms // DAY_MS, now_ms // HOUR_MS
        if day > self._day:
            keys, reads = self._reads.keys[: len(self._reads)], self._reads["reads"]
            best = strongest(reads, keys, LIST_DEPTH)
            best = best[np.lexsort((keys[best], -reads[best]))]
            self._daily = keys[best] if day == self._day + 1 else keys[:0].copy()
            self._reads.keep(np.empty(0, np.int64))
            self._day = day
        if hour > self._hour:
            for passed in range(max(self._hour, hour - WINDOW_HOURS) + 1, hour + 1):
                self._window[passed % WINDOW_HOURS] = 0
            self._hour = hour

    def is_canary(self, actor: int) -> bool:
        """Return True if the actor of that key is on the panel."""
        return bool(hashing.mix(np.uint64(actor), trend_columns.PANEL) < self._panel[0])

    @property
    def panel(self) -> NDArray[np.uint64]:
        """Return an array of one, the bound of the panel.

        An actor whose mixed key is below it is on the panel.
        """
        return self._panel

    def is_steady_due(self, now_ms: int) -> bool:
        return now_ms >= self._steady_due_ms

    def put_steady(self, keys: NDArray[np.uint64], now_ms: int) -> None:
        """Set the list of the next longer half-life."""
        self._steady, self._steady_due_ms = keys, now_ms + STEADY_MS

    @property
    def steady(self) -> NDArray[np.uint64]:
        """Return the keys of the steady list, best first."""
        return self._steady

    def shown(self, trending: NDArray[np.uint64], n_events: int) -> trend_columns.Shown:
        """Return the lists to compare with the next batch of n events."""
        if len(self._reads) > self._max_items:
            worth, keys = self._reads["reads"], self._reads.keys[: len(self._reads)]
            self._reads.keep(strongest(worth, keys, self._max_items * 7 // 8))
        self._reads.reserve(n_events)
        reads = self._reads
        return trend_columns.Shown(
            trending, self._daily, self._steady, reads.slots, reads.keys, reads.size, reads.data["reads"], self._panel
        )

    def learn(self, ranks: NDArray[np.int8], personal: NDArray[np.int8], ranked: NDArray[np.int8]) -> Answers:
        """Count a batch's answers and return their quality.

        ranks: int8 (n, 4), as of `trend_kernels.fold`.
        personal: int8 (n,), as of `Ranking.predict`.
        ranked: int8 (n,), in the order that is served.
        """
        counts = np.zeros(_SHAPE, np.int64)
        answers = np.empty((len(ranks), len(LISTS) + 1), np.int8)
        answers[:, :3], answers[:, 3], answers[:, 4], answers[:, 5] = ranks[:, :3], personal, ranked, ranks[:, 3]
        tally(answers, self._places, self._window[self._hour % WINDOW_HOURS], counts)
        return Answers(Quality(counts[0, 0]), Quality(counts[1, 0]), Quality(counts[2, 0]), Quality(counts[0, 3]))

    def total(self, name: str, population: str = "all") -> Quality:
        """Return the quality of a list for a population since the beginning."""
        return Quality(self._places[POPULATIONS.index(population), LISTS.index(name)].copy())

    def recent(self, name: str, hours: int = WINDOW_HOURS, population: str = "all") -> Quality:
        """Return the quality of a list over the last hours of stream time.

        hours: 1 to 24, the current one included.
        """
        slots = [(self._hour - back) % WINDOW_HOURS for back in range(hours)]
        return Quality(self._window[slots, POPULATIONS.index(population), LISTS.index(name)].sum(axis=0))

    def state(self) -> dict[str, Any]:
        return {
            "day": self._day,
            "hour": self._hour,
            "daily": self._daily.copy(),
            "steady": self._steady.copy(),
            "steady_due_ms": self._steady_due_ms,
            "reads": self._reads.state(),
            "places": self._places.copy(),
            "window": self._window.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if the shapes differ."""
        if state["places"].shape != self._places.shape or state["window"].shape != self._window.shape:
            raise ValueError("this state was made by another version of the evaluation")
        self._day, self._hour = state["day"], state["hour"]
        self._daily = state["daily"].copy()
        self._steady, self._steady_due_ms = state["steady"].copy(), state["steady_due_ms"]
        self._reads.restore(state["reads"])
        self._places, self._window = state["places"].copy(), state["window"].copy()
