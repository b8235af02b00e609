"""What a step says it did, and what it says now of events of earlier steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recommender.core.quality.drift import QUIET, Alarm
from recommender.core.quality.evaluation import NOTHING, Quality
from recommender.core.screen.screen import CondemnedCrowd, Verdicts, admitted
from recommender.core.trend.trend_columns import Events


@dataclass(frozen=True, slots=True)
class Revised:
    """New verdicts on events of earlier steps. ordinal: their numbers in the fold, int64 (n,), 0 the first ever
    taken; verdict: int8, `admit` = released, `quarantine` = condemned or retracted; reason: int32, what is added."""

    ordinal: NDArray[np.int64]
    verdict: NDArray[np.int8]
    reason: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ordinal)

    @classmethod
    def all(cls, ordinal: NDArray[np.int64], verdict: int, reason: int) -> Self:
        """The same verdict, for the same reason, on all."""
        return cls(ordinal, np.full(len(ordinal), verdict, np.int8), np.full(len(ordinal), reason, np.int32))


UNRANKED = np.empty((0, 4), np.int8)
UNREVISED = Revised(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.int32))


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did. n_events taken, n_admitted of them learned, the quality of the list they were shown (and the
    same of the predictions for `trusted` actors and for the `canary` panel); n_released from earlier holds and
    learned, n_condemned instead, n_retracted units taken back out; `alarm`: raised in this step, about the list;
    `personalised`: the quality of the lists made for each actor; `ranks`: int8 (m, 4) as of `Trend.learn`, where the
    lists showed what was released (first) and the batch's own."""

    n_events: int
    n_admitted: int
    quality: Quality
    verdicts: Verdicts
    revised: Revised = UNREVISED
    n_released: int = 0
    n_condemned: int = 0
    n_retracted: int = 0
    trusted: Quality = NOTHING
    canary: Quality = NOTHING
    alarm: Alarm = QUIET
    personalised: Quality = NOTHING
    ranks: NDArray[np.int8] = field(default_factory=lambda: UNRANKED)


class Settled(NamedTuple):
    """What a step has to learn, with the items' ids, and what became of what was held."""

    events: Events
    names: Sequence[str]
    n_admitted: int
    n_released: int = 0
    n_condemned: int = 0
    revised: tuple[Revised, ...] = ()
    crowds: Sequence[CondemnedCrowd] = ()


class UnitsTakenBack(NamedTuple):
    """What a step takes back out, and how many units that were."""

    revised: Sequence[Revised]
    n_retracted: int


NONE_TAKEN_BACK = UnitsTakenBack((), 0)
NO_STEP = StepResult(0, 0, NOTHING, admitted(0))


def joined(revisions: Sequence[Revised]) -> Revised:
    """All of them as one, in their order."""
    if not revisions:
        return UNREVISED
    return Revised(*(np.concatenate([getattr(each, name) for each in revisions]) for name in Revised.__slots__))
