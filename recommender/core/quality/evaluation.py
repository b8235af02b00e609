"""Prequential evaluation: every event is first a question, then a lesson.

Before a step is learned, the list as it stands is put to each of its events: is the item this actor acts on, for the
first time, among the first 20 the actor has not seen? The hit rate (HR@20) and the mean reciprocal rank (MRR@20) over
all such events say how good the list is without any data set aside; over the last hours, whether it is getting worse.

    step ──> ranks in the lists, and who asked, by `fold` ──> counts of places, in all and by hour
             trending: what was served;  daily: yesterday's most read, made anew at midnight of stream time, the
             yardstick of a model trained in a nightly batch;  steady: the best by the next longer half-life, a list
             slower to learn and dearer to rig, made anew every STEADY_MS;  personalised: by `candidates`, one list an
             actor. What it did earlier in the same step is known there as its own history, and counts nowhere yet
             ranked: the same candidates in the order that is served, `ranker` unless bypassed; of the acts that the
             ranker learns from alone, a few in a hundred

Three populations are told apart, since whoever floods a site takes part in its evaluation:

- **all**: everybody admitted.
- **trusted**: actors who weighed at least a half when they acted. Their number can be raised only by days of activity
  (`trust`), so a crowd of fresh accounts, hits or misses, does not show here.
- **canary**: a secret panel, the actors whose keyed hash falls below `share` of its range. Their acts are predicted
  and remembered as seen, but train nothing: no unit, no trust, no place in the daily list. A model that learned its
  own attackers looks good to them; the panel has no part in what was learned. It is as open to noise as `all` is, for
  a flood has its share of canaries too. Whoever can watch a score move by one fresh act can find out whether his own
  account is on the panel, not whether another is.

Answers are kept as counts of places, so every metric is exact and the state does not depend on the order of sums.
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
    """How good a list was. places: int64 (PLACES + 2,), events by the place their item had; index 0 is unused, the
    last are the misses."""

    places: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Predictions made."""
        return int(self.places.sum())

    @property
    def hits(self) -> int:
        """Of these, items found in the first 20 places."""
        return int(self.places[1 : PLACES + 1].sum())

    @property
    def reciprocal_ranks(self) -> float:
        """Sum of 1/place over the hits."""
        return float((self.places[1 : PLACES + 1] / np.arange(1, PLACES + 1)).sum())

    @property
    def hit_rate(self) -> float:
        """HR@20, in [0, 1]; 0 without predictions."""
        return self.hits / self.n if self.n else 0.0

    @property
    def mean_reciprocal_rank(self) -> float:
        """MRR@20, in [0, 1]; 0 without predictions."""
        return self.reciprocal_ranks / self.n if self.n else 0.0


NOTHING = Quality(np.zeros(PLACES + 2, np.int64))


class Answers(NamedTuple):
    """The quality of a batch's predictions: of `trending` by population, and of `personalised`."""

    everybody: Quality
    trusted: Quality
    canary: Quality
    personalised: Quality


class Evaluation:
    """Holds the lists and the answers. Memory: today's reads, at most `max_items` (the least read go first).

    canary_share: of actors on the panel, in [0, 0.5]. Raises ValueError outside."""

    def __init__(self, *, max_items: int, canary_share: float = 0.0) -> None:
        if not 0 <= canary_share <= MAX_CANARY_SHARE:
            raise ValueError(f"the canary panel may be 0 to {MAX_CANARY_SHARE} of all actors")
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
        """Move to stream time: at midnight today's most read become the daily list."""
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
        """Is the actor of that key on the panel?"""
        return bool(hashing.mix(np.uint64(actor), trend_columns.PANEL) < self._panel[0])

    @property
    def panel(self) -> NDArray[np.uint64]:
        """An array of one: the bound below which an actor's mixed key is on the panel."""
        return self._panel

    def is_steady_due(self, now_ms: int) -> bool:
        return now_ms >= self._steady_due_ms

    def put_steady(self, keys: NDArray[np.uint64], now_ms: int) -> None:
        """Take the list of the next longer half-life."""
        self._steady, self._steady_due_ms = keys, now_ms + STEADY_MS

    @property
    def steady(self) -> NDArray[np.uint64]:
        """Keys of the steady list, best first."""
        return self._steady

    def shown(self, trending: NDArray[np.uint64], n_events: int) -> trend_columns.Shown:
        """The lists to put to the next batch of n events."""
        if len(self._reads) > self._max_items:
            worth, keys = self._reads["reads"], self._reads.keys[: len(self._reads)]
            self._reads.keep(strongest(worth, keys, self._max_items * 7 // 8))
        self._reads.reserve(n_events)
        reads = self._reads
        return trend_columns.Shown(
            trending, self._daily, self._steady, reads.slots, reads.keys, reads.size, reads.data["reads"], self._panel
        )

    def learn(self, ranks: NDArray[np.int8], personal: NDArray[np.int8], ranked: NDArray[np.int8]) -> Answers:
        """Take a batch's answers, int8 (n, 4) as of `trend_kernels.fold`, (n,) as of `Ranking.predict`, and
        (n,) in the order that is served."""
        counts = np.zeros(_SHAPE, np.int64)
        answers = np.empty((len(ranks), len(LISTS) + 1), np.int8)
        answers[:, :3], answers[:, 3], answers[:, 4], answers[:, 5] = ranks[:, :3], personal, ranked, ranks[:, 3]
        tally(answers, self._places, self._window[self._hour % WINDOW_HOURS], counts)
        return Answers(Quality(counts[0, 0]), Quality(counts[1, 0]), Quality(counts[2, 0]), Quality(counts[0, 3]))

    def total(self, name: str, population: str = "all") -> Quality:
        """Quality of a list for a population since the beginning."""
        return Quality(self._places[POPULATIONS.index(population), LISTS.index(name)].copy())

    def recent(self, name: str, hours: int = WINDOW_HOURS, population: str = "all") -> Quality:
        """Quality of a list over the last hours of stream time, this one included; hours in 1..24."""
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
        """Take what `state()` gave. Raises ValueError where the shapes differ."""
        if state["places"].shape != self._places.shape or state["window"].shape != self._window.shape:
            raise ValueError("the state is of another version of the evaluation")
        self._day, self._hour = state["day"], state["hour"]
        self._daily = state["daily"].copy()
        self._steady, self._steady_due_ms = state["steady"].copy(), state["steady_due_ms"]
        self._reads.restore(state["reads"])
        self._places, self._window = state["places"].copy(), state["window"].copy()
