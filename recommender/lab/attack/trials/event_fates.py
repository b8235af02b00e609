"""Fate of every event of a run: its group, its first verdict, and later verdicts.

step by step: note(verdicts, revised) ──> counts by group: admitted, quarantined for good, ever held, seconds held
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE
from recommender.lab.attack.defences.defences import Judged

# groups of events: from honest readers, from honest machines, from the campaign
READERS, AUTOMATA, INJECTED = range(3)
GROUPS = ("readers", "machines", "injected")


@dataclass(slots=True)
class Ledger:
    """Columns of events, which grow by one part per step.

    first: the defence's number of the first event.
    """

    first: int = -1
    first_ms: int | None = None  # time of the first act on a target
    first_alarm_ms: int | None = None  # when such an act was first not admitted, or was removed later
    n_revised_before: int = 0  # events from before the run that were quarantined during it
    _parts: list[tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.float32], NDArray[np.int64]]] = field(
        default_factory=list
    )
    _on_target: list[NDArray[np.bool_]] = field(default_factory=list)
    _revisions: list[tuple[int, NDArray[np.int64], NDArray[np.int8]]] = field(default_factory=list)
    _targets: set[int] = field(default_factory=set)
    _n: int = 0

    def note(
        self,
        now_ms: int,
        number: int,
        received_ms: NDArray[np.int64],
        group: NDArray[np.int8],
        on_target: NDArray[np.bool_],
        judged: Judged,
    ) -> None:
        """Record a step: the number of its first event, its events and the verdicts."""
        verdicts, revised = judged
        if self.first < 0:
            self.first = number
        if len(received_ms):
            self._parts.append((group, verdicts.verdict.copy(), verdicts.score, received_ms))
        if on_target.any():
            times = received_ms[on_target]
            self.first_ms = int(times[0]) if self.first_ms is None else self.first_ms
            alarmed = times[verdicts.verdict[on_target] != ADMIT]
            if len(alarmed) and self.first_alarm_ms is None:
                self.first_alarm_ms = int(alarmed[0])
            self._targets.update((self._n + np.flatnonzero(on_target)).tolist())
        self._n += len(received_ms)
        if len(revised):
            rows = revised.ordinal - self.first
            self.n_revised_before += int(((rows < 0) & (revised.verdict == QUARANTINE)).sum())
            self._revisions.append((now_ms, rows[rows >= 0], revised.verdict[rows >= 0]))
            if self.first_alarm_ms is None and self._targets & set(rows[revised.verdict == QUARANTINE].tolist()):
                self.first_alarm_ms = now_ms

    def columns(self) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.bool_], NDArray[np.float64]]:
        """Return by event: group, last verdict, whether it was ever held, seconds held.

        Seconds are 0 for an event that was not held, and for one whose hold is not over.
        """
        if not self._parts:
            return np.empty(0, np.int8), np.empty(0, np.int8), np.empty(0, np.bool_), np.empty(0)
        group, verdict, _, received_ms = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        was_held = verdict == HOLD
        held_s = np.zeros(len(group))
        for now_ms, rows, new in self._revisions:
            is_over = (verdict[rows] == HOLD) & (new != HOLD)
            held_s[rows[is_over]] = (now_ms - received_ms[rows[is_over]]) / 1000
            verdict[rows] = new
        return group, verdict, was_held, held_s

    def scores(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return by event: group, and the score of its first verdict."""
        if not self._parts:
            return np.empty(0, np.int8), np.empty(0, np.float32)
        return np.concatenate([part[0] for part in self._parts]), np.concatenate([part[2] for part in self._parts])

    def summary(self) -> dict[str, dict[str, float]]:
        """Count by group the events: all, ever held, quarantined in the end, still held.

        held_s is the mean time in seconds of the holds that ended.
        """
        group, verdict, was_held, held_s = self.columns()
        found = {}
        for number, name in enumerate(GROUPS):
            mine = group == number
            ended = held_s[mine & was_held & (held_s > 0)]
            found[name] = {
                "events": int(mine.sum()),
                "held": int((mine & was_held).sum()),
                "quarantined": int((mine & (verdict == QUARANTINE)).sum()),
                "waiting": int((mine & (verdict == HOLD)).sum()),
                "held_s": float(ended.mean()) if len(ended) else 0.0,
            }
        return found
