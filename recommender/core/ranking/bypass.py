"""The contest: is the learned order better than each of the simple ones it is made of? If not, it is bypassed.

    places of clicked candidates, by order ──> mean reciprocal rank of each (trust-weighted, windowed) ──> mode

Three orders of the same candidates are judged side by side, on every list, whichever is served:

    trend    by what everybody reads          blend    trend and affinity, in fixed shares          ranker   learned

A list that was not learned from yet is the question, so this is prequential. The mode is the order that is served:

- cold, until lists of `warm` trust are judged: the blend;
- then the ranker, unless its mean falls below that of the better of the others by more than `slack` of it: then that
  one is served, until the ranker's mean is back at the other's. Two thresholds, so that noise does not toggle it.

A list weighs what its actor's act weighs. Past `memory` lists of full trust the means forget, and so W of trust moves
each of them by at most W / `memory`, whatever its clicks are. Integers only: a mean is the same on every machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_BITS

MODES = ("trend", "blend", "ranker")
TREND, BLEND, RANKER = range(len(MODES))
_BITS = 40  # of a mean; a reciprocal rank of 1
_ONE = 1 << _BITS
_RECIPROCAL = [0, *(_ONE // place for place in range(1, PLACES + 1)), 0]


@dataclass(frozen=True, slots=True)
class ContestConfig:
    """memory, warm: lists of full trust; slack: a share of a mean. Raises ValueError for what cannot be."""

    memory: int = 400
    warm: int = 20
    slack: float = 0.004

    def __post_init__(self) -> None:
        if not 1 <= self.warm <= self.memory <= 1 << 20:
            raise ValueError("a contest remembers as many lists as it warms up with, or more, up to a million")
        if not 0 <= self.slack < 1:
            raise ValueError("the slack of a contest is from 0 to less than 1")


class Contest:
    """`learn` writes."""

    def __init__(self, config: ContestConfig) -> None:
        self.config = config
        self._slack = round(config.slack * _ONE)
        self._mass = 0  # of lists judged, in WEIGHT_ONE, at most `memory`
        self._means = [0] * len(MODES)
        self._mode = BLEND

    @property
    def mode(self) -> str:
        """Which order is served."""
        return MODES[self._mode]

    @property
    def means(self) -> dict[str, float]:
        """The windowed mean reciprocal rank of each order, in [0, 1]."""
        return {name: mean / _ONE for name, mean in zip(MODES, self._means, strict=True)}

    @property
    def trust(self) -> float:
        """How many lists of full trust the means are of."""
        return self._mass / (1 << WEIGHT_BITS)

    def learn(self, places: NDArray[np.int8], weight: NDArray[np.int64]) -> None:
        """Take places, int8 (n, 3) in the order of MODES, PLACES + 1 for a miss; weights in WEIGHT_ONE, (n,)."""
        most, means = self.config.memory << WEIGHT_BITS, self._means
        for row, mass in zip(places.tolist(), weight.tolist(), strict=True):
            if mass:
                self._mass = min(self._mass + mass, most)
                for at, place in enumerate(row):
                    means[at] += (_RECIPROCAL[place] - means[at]) * mass // self._mass
        self._mode = self._judged()

    def _judged(self) -> int:
        if self._mass < self.config.warm << WEIGHT_BITS:
            return BLEND
        means = self._means
        best = BLEND if means[BLEND] >= means[TREND] else TREND
        if self._mode == RANKER:
            return best if self._is_worse(RANKER, best) else RANKER
        if means[RANKER] >= means[best]:
            return RANKER
        return best if self._is_worse(self._mode, best) else self._mode

    def _is_worse(self, one: int, other: int) -> bool:
        """By more than the slack?"""
        return self._means[one] << _BITS < self._means[other] * (_ONE - self._slack)

    def state(self) -> dict[str, Any]:
        return {"mass": self._mass, "means": np.array(self._means, np.int64), "mode": self._mode}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state()` gave. Raises ValueError where it is of another version."""
        if state["means"].shape != (len(MODES),) or not 0 <= state["mode"] < len(MODES):
            raise ValueError("the state is of another version of the contest")
        self._mass, self._means, self._mode = state["mass"], state["means"].tolist(), state["mode"]
