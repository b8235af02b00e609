"""Pressure on the screen: how much it stops, and how much it nearly stops.

    verdicts of a step ──> counts of events, held, quarantined, near; decayed by an hour, and by thirty days

An attacker who probes a filter from outside sends events that are nearly stopped, and a few more after every refit
(the boiling frog). So the screen counts admitted events whose score is from 0.9 to 1.0 of the least score that is
stopped. If their share is high compared with its own mean of thirty days, someone is probing. No single event can be
blamed for it.

Counts are integers, decayed by whole ticks. They are the same in any cut into steps, up to roundings below 2**-16 of
an event.
"""

from typing import Any

import numpy as np

from recommender.core.screen.screen import Verdicts
from recommender.core.tables.decay import TICKS, decayed
from recommender.core.vocabulary import DAY_MS, HOLD, HOUR_MS, QUARANTINE

STOPPED_FROM = 0.25  # a hold adds a quarter to the score, so no stopped event scores less
NEAR = 0.9  # share of STOPPED_FROM
HALF_LIVES_MS = (HOUR_MS, 30 * DAY_MS)
SCALE_BITS = 16
EVENTS, HELD, QUARANTINED, NEARLY = range(4)
_NEAR_FROM, _STOPPED_FROM = np.float32(NEAR * STOPPED_FROM), np.float32(STOPPED_FROM)


class Pressure:
    """Counts of stopped and nearly stopped events. `learn` writes.

    Shares are over about the last hour, or the last thirty days.
    """

    def __init__(self) -> None:
        self._counts = [[0, 0, 0, 0] for _ in HALF_LIVES_MS]
        self._ticks = [0 for _ in HALF_LIVES_MS]

    def learn(self, verdicts: Verdicts, now_ms: int) -> None:
        """Count a step's verdicts at stream time."""
        score, held, quarantined = verdicts.score, 0, 0
        nearly = int(np.count_nonzero(score >= _NEAR_FROM)) - int(np.count_nonzero(score >= _STOPPED_FROM))
        if verdicts.verdict.any():
            held = int(np.count_nonzero(verdicts.verdict == HOLD))
            quarantined = int(np.count_nonzero(verdicts.verdict == QUARANTINE))
        for row, half_ms in enumerate(HALF_LIVES_MS):
            ticks, counts = now_ms * TICKS // half_ms - self._ticks[row], self._counts[row]
            if ticks > 0:
                self._counts[row] = counts = [int(decayed(count, ticks)) if count else 0 for count in counts]
                self._ticks[row] += ticks
            counts[EVENTS] += len(score) << SCALE_BITS
            counts[HELD] += held << SCALE_BITS
            counts[QUARANTINED] += quarantined << SCALE_BITS
            counts[NEARLY] += nearly << SCALE_BITS

    def share(self, of: int, *, is_long: bool = False) -> float:
        """Return the share of events HELD, QUARANTINED or NEARLY stopped.

        It is 0 without events.
        """
        counts = self._counts[int(is_long)]
        return float(counts[of] / counts[EVENTS]) if counts[EVENTS] else 0.0

    @property
    def ratio(self) -> float:
        """Return the share nearly stopped in the last hour over that of thirty days.

        Each has one event more. The ratio is 1.0 if nothing is known or nothing is unusual.
        """
        hour, month = (np.array(counts) / (1 << SCALE_BITS) for counts in self._counts)
        usual = (month[NEARLY] + 1) / (month[EVENTS] + 1)
        # One usual event is added on both sides, so that a quiet hour does not change the ratio.
        return float((hour[NEARLY] + 1) / (hour[EVENTS] * usual + 1))

    def state(self) -> dict[str, Any]:
        return {"counts": np.array(self._counts, np.int64), "ticks": np.array(self._ticks, np.int64)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if another version made it."""
        if state["counts"].shape != (len(HALF_LIVES_MS), 4) or state["ticks"].shape != (len(HALF_LIVES_MS),):
            raise ValueError("this state was made by another version of the pressure")
        self._counts, self._ticks = state["counts"].tolist(), state["ticks"].tolist()
