"""Every event of a run, whose it was, and what became of it in the end: first verdicts, and those revised later.

step by step: note(verdicts, revised) ──> counts by group: admitted, quarantined for good, ever held, seconds held
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.core.vocabulary import ADMIT, HOLD, QUARANTINE
from recommender.lab.attack.defences.defences import Judged

READERS, AUTOMATA, INJECTED = range(3)  # whose event: honest readers, honest machines, the campaign
GROUPS = ("readers", "machines", "injected")


@dataclass(slots=True)
class Ledger:
    """Columns grow by a part a step; `first` is the defence's number of the first event."""

    first: int = -1
    first_ms: int | None = None  # of an act on a target
    first_alarm_ms: int | None = None  # when one of them was first not admitted, or taken back
    n_revised_before: int = 0  # events from before the run that were quarantined in it
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
        """A step: the number of its first event, its events, what was said."""
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
        """By event: group, last verdict, whether it was ever held, seconds held (0 where not, or not yet over)."""
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
        """By event: group, and the score of its first verdict."""
        if not self._parts:
            return np.empty(0, np.int8), np.empty(0, np.float32)
        return np.concatenate([part[0] for part in self._parts]), np.concatenate([part[2] for part in self._parts])

    def summary(self) -> dict[str, dict[str, float]]:
        """By group: events, of them held at any time, quarantined in the end, still held; mean seconds held."""
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
