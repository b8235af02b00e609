"""Collect the verdicts of a fold in memory, and write them at once.

    Folded ──note──> rows of events not admitted ──┐
                     revised verdicts ─────────────┴──> each event's newest verdict ──one COPY──> EventVerdict
                     revisions of events before the fold, and of decided events ──in order──> UPDATE

A live step writes an event's row, and later steps update it. A fold knows the end, so it writes each row once, as the
last step left it. Decisions read and write rows themselves. So the verdicts on events that a decision names are
written in the order of steps.

The position of a revised event is found among the last WINDOW events of the fold. An older one is looked up in the
log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommender.core.fold.step_result import Revised
from recommender.core.vocabulary import Verdict
from recommender.learning import verdict_writer
from recommender.learning.refold import Folded
from recommender.learning.verdict_copy import NEVER, VerdictColumns, copy_rows, joined, unrevised
from recommender.models import Decision

WINDOW = 2**20  # events whose positions are kept, 24 MB
MANY_PARTS = 2000  # parts that are joined to one, because each small array takes 100 bytes more

Int64s = NDArray[np.int64]


@dataclass(slots=True)
class _Revisions:
    """Revised verdicts in their order, as columns.

    step: the step that revised the event. taken_in, xid, seq: where the event is, if `is_placed`.
    """

    ordinal: Int64s
    verdict: NDArray[np.int8]
    reason: NDArray[np.int32]
    step: Int64s
    is_placed: NDArray[np.bool_]
    taken_in: Int64s
    xid: Int64s
    seq: Int64s

    def __len__(self) -> int:
        return len(self.ordinal)

    def take(self, rows: NDArray[np.bool_] | slice) -> "_Revisions":
        return _Revisions(*(getattr(self, name)[rows] for name in self.__slots__))

    @classmethod
    def join(cls, parts: Sequence["_Revisions"]) -> "_Revisions":
        if not parts:
            nothing = np.zeros(0, np.int64)
            is_none, no_verdicts, no_reasons = np.zeros(0, np.bool_), np.zeros(0, np.int8), np.zeros(0, np.int32)
            return cls(nothing, no_verdicts, no_reasons, nothing, is_none, nothing, nothing, nothing)
        return cls(*(np.concatenate([getattr(each, name) for each in parts]) for name in cls.__slots__))

    def write(self, shard: int, rows: slice) -> None:
        part = self.take(rows)
        if len(part):
            revised = Revised(part.ordinal, part.verdict, part.reason)
            verdict_writer.revise(shard=shard, steps=part.step.tolist(), revised=revised)


class _Places:
    """Step and position of the last WINDOW folded events, by the number in the fold."""

    def __init__(self) -> None:
        self._first = self._next = 0
        self._step, self._xid, self._seq = (np.zeros(WINDOW, np.int64) for _ in range(3))

    def add(self, first_ordinal: int, step: int, xid: Int64s, seq: Int64s) -> None:
        if first_ordinal != self._next:  # another fold
            self._first = first_ordinal
        self._next = first_ordinal + len(xid)
        start = first_ordinal % WINDOW
        if start + len(xid) <= WINDOW:
            here: slice | Int64s = slice(start, start + len(xid))
        else:
            here = np.arange(first_ordinal, self._next) % WINDOW
        self._step[here], self._xid[here], self._seq[here] = step, xid, seq

    def find(self, revised: Revised, step: int) -> _Revisions:
        """Return the verdicts that a step revised, with the places of their events."""
        at = revised.ordinal % WINDOW
        is_placed = (revised.ordinal >= max(self._first, self._next - WINDOW)) & (revised.ordinal < self._next)
        places = (np.where(is_placed, column[at], NEVER) for column in (self._step, self._xid, self._seq))
        steps = np.full(len(revised), step, np.int64)
        return _Revisions(revised.ordinal, revised.verdict, revised.reason, steps, is_placed, *places)


@dataclass(slots=True)
class FoldVerdicts:
    """The verdicts of the steps of one shard, which must come in their order."""

    decided: list[tuple[int, Decision]] = field(default_factory=list)
    _judged: list[VerdictColumns] = field(default_factory=list)
    _revised: list[_Revisions] = field(default_factory=list)
    _places: _Places = field(default_factory=_Places)

    def note(self, folded: Folded) -> None:
        """Keep the verdicts of a step. About 20 us if there are any, else 3 us."""
        step, result = folded.step.number, folded.result
        self._places.add(folded.first_ordinal, step, folded.xid, folded.seq)
        if folded.decided:
            self.decided += [(step, decision) for decision in folded.decided]
        rows = np.flatnonzero(result.verdicts.verdict)  # 0: admitted
        if len(rows):
            self._judged.append(_judged(folded, rows))
            if len(self._judged) > MANY_PARTS:
                self._judged = [joined(self._judged)]
        if len(result.revised):
            self._revised.append(self._places.find(result.revised, step))

    def write(self, *, shard: int) -> None:
        """Write them all, in the caller's transaction.

        No row of the folded events may exist, and their steps must be recorded with their new numbers of events.
        """
        rows, decided = joined(self._judged), self._read_decided()
        if not self._revised and not decided:
            copy_rows(shard=shard, rows=rows)
            return
        revisions = _Revisions.join(self._revised)
        is_apart = ~revisions.is_placed | np.isin(revisions.seq, _seqs(decided))
        here, apart = revisions.take(~is_apart), revisions.take(is_apart)
        place = np.searchsorted(rows.ordinal, here.ordinal)  # ascending, as the fold numbers events
        is_known = np.zeros(len(here), np.bool_)
        if len(rows):
            is_known = rows.ordinal[np.minimum(place, len(rows) - 1)] == here.ordinal
        new = _first_verdicts(here.take(~is_known))
        _revise(rows, place[is_known], here.take(is_known))
        _revise(new, np.searchsorted(new.ordinal, here.ordinal[~is_known]), here.take(~is_known))
        copy_rows(shard=shard, rows=joined([rows, new]))
        self._write_apart(shard, apart, decided)

    def _read_decided(self) -> list[tuple[int, Decision]]:
        """Return the decisions as their rows are now.

        An erasure removes the actor's events from the rows after the fold has read them.
        """
        rows = Decision.objects.in_bulk([decision.pk for _, decision in self.decided]) if self.decided else {}
        return [(step, rows[decision.pk]) for step, decision in self.decided if decision.pk in rows]

    def _write_apart(self, shard: int, revisions: _Revisions, decided: Sequence[tuple[int, Decision]]) -> None:
        """Write decisions, and the revisions that must keep their order with them."""
        start = 0
        for step, decision in decided:
            end = int(np.searchsorted(revisions.step, step, "right"))
            revisions.write(shard, slice(start, end))
            verdict_writer.decide(shard=shard, step=step, decided=[decision])
            start = end
        revisions.write(shard, slice(start, len(revisions)))


def _judged(folded: Folded, rows: Int64s) -> VerdictColumns:
    """Return a row for each event of a step that was not simply admitted."""
    verdicts, judged = folded.result.verdicts, unrevised(len(rows))
    judged.ordinal, judged.step[:] = folded.first_ordinal + rows, folded.step.number
    judged.xid, judged.seq = folded.xid[rows], folded.seq[rows]
    judged.verdict, judged.reasons = verdicts.verdict[rows], verdicts.reason[rows]
    judged.was_held = np.equal(judged.verdict, Verdict.HOLD)
    judged.score[:] = verdicts.score[rows]
    if len(verdicts.evidence.rows):
        places = np.searchsorted(rows, verdicts.evidence.rows)
        judged.has_evidence[places], judged.alpha[places] = True, verdicts.evidence.alpha
        judged.percentiles[places] = verdicts.evidence.percentiles
        judged.p_values[places] = verdicts.evidence.p_values
    return judged


def _first_verdicts(revisions: _Revisions) -> VerdictColumns:
    """Return a row for each event, as it was admitted at first, in ascending order."""
    ordinal, first = np.unique(revisions.ordinal, return_index=True)
    rows = unrevised(len(ordinal))
    rows.ordinal, rows.step = ordinal, revisions.taken_in[first]
    rows.xid, rows.seq = revisions.xid[first], revisions.seq[first]
    return rows


def _revise(rows: VerdictColumns, place: Int64s, revisions: _Revisions) -> None:
    """Give rows their newest verdict.

    Of several on one row the last counts, with the reasons of all.
    """
    rows.verdict[place] = revisions.verdict
    rows.revised_in[place] = revisions.step
    np.bitwise_or.at(rows.reasons, place, revisions.reason)


def _seqs(decided: Sequence[tuple[int, Decision]]) -> Int64s:
    return np.array([seq for _, decision in decided for seq in decision.seq], np.int64)
