"""Results of a step, and its new verdicts on events of earlier steps."""

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
    """New verdicts on events of earlier steps.

    ordinal: their numbers in the fold, int64 (n,), 0 is the first event ever taken.
    verdict: int8, `admit` = released, `quarantine` = condemned or retracted.
    reason: int32, the reasons to add.
    """

    ordinal: NDArray[np.int64]
    verdict: NDArray[np.int8]
    reason: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ordinal)

    @classmethod
    def all(cls, ordinal: NDArray[np.int64], verdict: int, reason: int) -> Self:
        """Give all these events the same verdict for the same reason."""
        return cls(ordinal, np.full(len(ordinal), verdict, np.int8), np.full(len(ordinal), reason, np.int32))


UNRANKED = np.empty((0, 4), np.int8)
UNREVISED = Revised(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.int32))


@dataclass(frozen=True, slots=True)
class StepResult:
    """Counts, qualities and verdicts of one step.

    n_events, n_admitted: events taken, and events of this batch that were learned.
    quality: of the list these readers were shown.
    trusted, canary: the same, for the predictions of trusted actors and of the canary panel.
    n_released, n_condemned: events from earlier holds, learned or condemned.
    n_retracted: units that were removed again.
    alarm: raised in this step, about the list.
    personalised: the quality of the lists made for each actor.
    ranks: int8 (m, 4), see `Trend.learn`, the places in the lists. Released events come first, then the batch's own.
    """

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
    """Events a step has to learn, with the items' ids, and the outcome of ended holds."""

    events: Events
    names: Sequence[str]
    n_admitted: int
    n_released: int = 0
    n_condemned: int = 0
    revised: tuple[Revised, ...] = ()
    crowds: Sequence[CondemnedCrowd] = ()


class UnitsTakenBack(NamedTuple):
    """New verdicts on removed acts, and the number of their units."""

    revised: Sequence[Revised]
    n_retracted: int


NONE_TAKEN_BACK = UnitsTakenBack((), 0)
NO_STEP = StepResult(0, 0, NOTHING, admitted(0))


def joined(revisions: Sequence[Revised]) -> Revised:
    """Join revisions into one, in their order."""
    if not revisions:
        return UNREVISED
    return Revised(*(np.concatenate([getattr(each, name) for each in revisions]) for name in Revised.__slots__))
