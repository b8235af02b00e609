"""Pressure on the screen: how much it stops, and how much comes to stand just below what it stops.

    verdicts of a step ──> counts of events, held, quarantined, near; decayed by an hour, and by thirty days

Whoever probes a filter from outside sends what it nearly stops, and then a little more after every refit (the boiling
frog). So the share of admitted events whose score is from 0.9 to 1.0 of the least at which events are stopped,
beside its own mean of thirty days, says that somebody is at it. No single event can be blamed for it.

Integers, decayed by whole ticks; the same in any cut into steps but for roundings below 2**-16 of an event.
"""

from typing import Any

import numpy as np

from recommender.core.screen.screen import Verdicts
from recommender.core.tables.decay import TICKS, decayed
from recommender.core.vocabulary import DAY_MS, HOLD, HOUR_MS, QUARANTINE

STOPPED_FROM = 0.25  # the score adds a quarter for a hold: nothing that is stopped scores less
NEAR = 0.9  # of it
HALF_LIVES_MS = (HOUR_MS, 30 * DAY_MS)
SCALE_BITS = 16
EVENTS, HELD, QUARANTINED, NEARLY = range(4)
_NEAR_FROM, _STOPPED_FROM = np.float32(NEAR * STOPPED_FROM), np.float32(STOPPED_FROM)


class Pressure:
    """`learn` writes. Shares are over about the last hour, or thirty days."""

    def __init__(self) -> None:
        self._counts = [[0, 0, 0, 0] for _ in HALF_LIVES_MS]
        self._ticks = [0 for _ in HALF_LIVES_MS]

    def learn(self, verdicts: Verdicts, now_ms: int) -> None:
        """Take a step's verdicts, at stream time. 4 us."""
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
        """The share of events HELD, QUARANTINED or NEARLY stopped; 0 without events."""
        counts = self._counts[int(is_long)]
        return float(counts[of] / counts[EVENTS]) if counts[EVENTS] else 0.0

    @property
    def ratio(self) -> float:
        """The share nearly stopped in the last hour over that of thirty days, each with one event more: 1.0 where
        nothing is known or nothing is unusual."""
        hour, month = (np.array(counts) / (1 << SCALE_BITS) for counts in self._counts)
        usual = (month[NEARLY] + 1) / (month[EVENTS] + 1)
        # one usual event's worth on both sides, so that a quiet hour says nothing
        return float((hour[NEARLY] + 1) / (hour[EVENTS] * usual + 1))

    def state(self) -> dict[str, Any]:
        return {"counts": np.array(self._counts, np.int64), "ticks": np.array(self._ticks, np.int64)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state()` gave. Raises ValueError where it is of another version."""
        if state["counts"].shape != (len(HALF_LIVES_MS), 4) or state["ticks"].shape != (len(HALF_LIVES_MS),):
            raise ValueError("the state is of another version of the pressure")
        self._counts, self._ticks = state["counts"].tolist(), state["ticks"].tolist()
