"""The contest: bypass the learned order unless it beats the simple ones.

    places of clicked candidates, by order ──> mean reciprocal rank of each (trust-weighted, windowed) ──> mode

The contest judges three orders of the same candidates on every list, whichever of them is served:

    trend    by what everybody reads          blend    trend and affinity, in fixed shares          ranker   learned

A list is judged before it is learned, so this is prequential. The mode is the order that is served:

- While cold, until lists of `warm` trust are judged, it is the blend.
- Then it is the ranker, unless the ranker's mean falls below the better of the other two by more than `slack` of it.
  In that case the better one is served until the ranker's mean is back at its level. Two thresholds keep noise from
  toggling the mode.

A list has the weight of its actor's act. Past `memory` lists of full trust the means forget. So W of trust moves each
mean by at most W / `memory`, no matter where its clicks are. All numbers are integers, so a mean is the same on every
machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_BITS

MODES = ("trend", "blend", "ranker")
TREND, BLEND, RANKER = range(len(MODES))
_BITS = 40  # of a mean; _ONE is a reciprocal rank of 1
_ONE = 1 << _BITS
_RECIPROCAL = [0, *(_ONE // place for place in range(1, PLACES + 1)), 0]


@dataclass(frozen=True, slots=True)
class ContestConfig:
    """Settings of the contest. Raises ValueError for impossible values.

    memory, warm: lists of full trust.
    slack: a share of a mean.
    """

    memory: int = 400
    warm: int = 20
    slack: float = 0.004

    def __post_init__(self) -> None:
        if not 1 <= self.warm <= self.memory <= 1 << 20:
            raise ValueError("the contest needs 1 <= warm <= memory <= 1048576")
        if not 0 <= self.slack < 1:
            raise ValueError("the slack of the contest must be at least 0 and below 1")


class Contest:
    """Means of the three orders, and the order that is served. `learn` writes."""

    def __init__(self, config: ContestConfig) -> None:
        self.config = config
        self._slack = round(config.slack * _ONE)
        self._mass = 0  # weight of the lists judged, in WEIGHT_ONE, at most `memory`
        self._means = [0] * len(MODES)
        self._mode = BLEND

    @property
    def mode(self) -> str:
        """Return the name of the order that is served."""
        return MODES[self._mode]

    @property
    def means(self) -> dict[str, float]:
        """Return the windowed mean reciprocal rank of each order, in [0, 1]."""
        return {name: mean / _ONE for name, mean in zip(MODES, self._means, strict=True)}

    @property
    def trust(self) -> float:
        """Return the trust behind the means, in lists of full trust."""
        return self._mass / (1 << WEIGHT_BITS)

    def learn(self, places: NDArray[np.int8], weight: NDArray[np.int64]) -> None:
        """Update the means and the mode from the places of clicked candidates.

        places: int8 (n, 3) in the order of MODES, PLACES + 1 for a miss.
        weight: (n,), in WEIGHT_ONE.
        """
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
        """Return True if one order's mean is below the other's by more than the slack."""
        return self._means[one] << _BITS < self._means[other] * (_ONE - self._slack)

    def state(self) -> dict[str, Any]:
        return {"mass": self._mass, "means": np.array(self._means, np.int64), "mode": self._mode}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if another version made it."""
        if state["means"].shape != (len(MODES),) or not 0 <= state["mode"] < len(MODES):
            raise ValueError("this state was made by another version of the contest")
        self._mass, self._means, self._mode = state["mass"], state["means"].tolist(), state["mode"]
