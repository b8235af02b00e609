"""Verdicts kept: every event that was not simply admitted, for reviewers, in the transaction of its step.

    StepResult.verdicts ──> a row for each event held or quarantined
    StepResult.revised  ──> held: released or condemned;  admitted before: taken back out, a row of its own

An event is named by its number in the fold (`ordinal`), because the core knows no log; where it stands in the log
follows from the step that took it. `verdict` is the last word, `was_held` remembers the first.
"""

from collections.abc import Sequence

import numpy as np
from django.db.models import F

from recommender import log
from recommender.core.pipeline import Revised, StepResult
from recommender.core.screen import Verdict
from recommender.log import LogSlice, Position
from recommender.models import EventVerdict, Step

BATCH = 2000  # rows written in one statement


def store(*, shard: int, first_ordinal: int, step: int, events: LogSlice, result: StepResult) -> None:
    """Write the verdicts of a step and what it revised; the caller's transaction is the step's."""
    verdicts = result.verdicts
    rows = np.flatnonzero(verdicts.verdict != Verdict.ADMIT)
    EventVerdict.objects.bulk_create(
        (
            EventVerdict(
                shard=shard,
                ordinal=first_ordinal + row,
                step=step,
                xid=int(events.xid[row]),
                seq=int(events.seq[row]),
                verdict=int(verdicts.verdict[row]),
                was_held=int(verdicts.verdict[row]) == Verdict.HOLD,
                score=float(verdicts.score[row]),
                reasons=int(verdicts.reason[row]),
            )
            for row in rows.tolist()
        ),
        batch_size=BATCH,
    )
    if len(result.revised):
        _revise(shard, step, result.revised)


def _revise(shard: int, step: int, revised: Revised) -> None:
    ordinals = revised.ordinal.tolist()
    known = set(EventVerdict.objects.filter(shard=shard, ordinal__in=ordinals).values_list("ordinal", flat=True))
    for verdict, reason in set(zip(revised.verdict.tolist(), revised.reason.tolist(), strict=True)):
        chosen = revised.ordinal[(revised.verdict == verdict) & (revised.reason == reason)].tolist()
        rows = EventVerdict.objects.filter(shard=shard, ordinal__in=chosen)
        rows.update(verdict=verdict, reasons=F("reasons").bitor(reason), revised_in=step)
    new = [place for place, ordinal in enumerate(ordinals) if ordinal not in known]
    positions = positions_of(shard=shard, ordinals=[ordinals[place] for place in new])
    EventVerdict.objects.bulk_create(
        (
            EventVerdict(
                shard=shard,
                ordinal=ordinals[place],
                step=number,
                xid=position.xid,
                seq=position.seq,
                verdict=int(revised.verdict[place]),
                reasons=int(revised.reason[place]),
                revised_in=step,
            )
            for place, (number, position) in zip(new, positions, strict=True)
        ),
        batch_size=BATCH,
        ignore_conflicts=True,
    )


def positions_of(*, shard: int, ordinals: Sequence[int]) -> list[tuple[int, Position]]:
    """The step that took each event, and where the event stands in the log; (0, beginning) where the record of steps
    no longer reaches back. One read of the log a step."""
    found: dict[int, tuple[int, Position]] = {}
    for ordinal in sorted(set(ordinals)):
        if ordinal in found:
            continue
        step = Step.objects.filter(shard=shard, first_ordinal__lte=ordinal).order_by("-first_ordinal").first()
        if step is None:
            continue
        events = log.read_step(step)
        for row in range(len(events)):
            position = Position(int(events.xid[row]), int(events.seq[row]))
            found[step.first_ordinal + row] = (step.number, position)
    return [found.get(ordinal, (0, Position())) for ordinal in ordinals]
