"""The screen in front of the model: a verdict on every event before anything is learned from it.

This screen admits all; every step already asks it, and learns only what it admits.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch


class Verdict(IntEnum):
    """What becomes of an event. The numbers are stored: never reuse one."""

    ADMIT = 0
    HOLD = 1
    QUARANTINE = 2


_ADMIT = int(Verdict.ADMIT)  # an enum's member costs 1 us each time it is looked up


@dataclass(frozen=True, slots=True)
class Verdicts:
    """verdict: int8 (n,), a `Verdict`. score: float32 (n,), in [0, 1], high = suspicious."""

    verdict: NDArray[np.int8]
    score: NDArray[np.float32]

    @property
    def is_admitted(self) -> NDArray[np.bool_]:
        return np.equal(self.verdict, _ADMIT)


class AdmitAll:
    """Admits every event at score 0."""

    def judge(self, batch: EventBatch) -> Verdicts:
        """Verdicts on a batch; O(n)."""
        return Verdicts(np.zeros(len(batch), np.int8), np.zeros(len(batch), np.float32))
