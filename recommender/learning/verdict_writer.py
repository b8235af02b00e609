"""Store the verdict on every event that was not simply admitted, for reviewers.

    StepResult.verdicts ──> a row for each event held or quarantined, with the evidence (core.screen.evidence)
    StepResult.revised  ──> held: released or quarantined, in its row.  admitted before: removed, in a new row

The rows are written in the transaction of the step. An event is named by its number in the fold (`ordinal`), because
the core does not know the log. Its position in the log follows from the step that took it. `verdict` is the newest
verdict, and `was_held` shows whether the first one was to hold.

One statement writes all rows of a step, as arrays that the server unnests. In a flood of fakes most events get a row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db.models import Q
from numpy.typing import NDArray

from recommender.core.features.feature_columns import FEATURES
from recommender.core.fold.step_result import Revised, StepResult
from recommender.core.screen.evidence import UNKNOWN
from recommender.core.screen.screen import Verdicts
from recommender.core.vocabulary import HOLD, QUARANTINE, Reason, Ruling, Verdict
from recommender.log import event_log
from recommender.log.event_log import LogSlice, Position
from recommender.models import Decision, EventVerdict, Step

_INSERT = """
WITH written AS (
    INSERT INTO recommender_eventverdict (
        shard, ordinal, step, xid, seq, verdict, was_held, score, reasons, revised_in, evidence, p_values, alpha,
        created_at)
    SELECT %b::smallint, ordinal, step, xid, seq, verdict, verdict = 1 AND %b::bigint IS NULL, score, reasons,
           %b::bigint, evidence, CASE WHEN p_actor IS NOT NULL OR p_item IS NOT NULL OR p_network IS NOT NULL
                                      THEN ARRAY[p_actor, p_item, p_network] END,
           CASE WHEN evidence IS NOT NULL THEN %b::float8 END, now()
    FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[], %b::float8[], %b::integer[],
                %b::bytea[], %b::float8[], %b::float8[], %b::float8[])
         AS t(ordinal, step, xid, seq, verdict, score, reasons, evidence, p_actor, p_item, p_network)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM written
"""

# If an event is revised twice in a step, the last verdict counts, with all reasons.
_REVISE = """
WITH revised AS (
    SELECT ordinal, (array_agg(verdict ORDER BY n DESC))[1] AS verdict, bit_or(reasons) AS reasons, max(step) AS step
    FROM unnest(%b::bigint[], %b::smallint[], %b::integer[], %b::bigint[])
         WITH ORDINALITY AS t(ordinal, verdict, reasons, step, n)
    GROUP BY ordinal
), known AS (
    UPDATE recommender_eventverdict AS v
    SET verdict = revised.verdict, reasons = v.reasons | revised.reasons, revised_in = revised.step
    FROM revised WHERE v.shard = %b::smallint AND v.ordinal = revised.ordinal
    RETURNING v.ordinal
)
SELECT coalesce(array_agg(ordinal), '{}') FROM known
"""

# Applies the ruling of people to the events that have a row, and returns those events with their verdicts before it.
# The reason CONFIRMED is kept only while the ruling is to confirm.
_DECIDE = """
WITH known AS MATERIALIZED (
    SELECT id, seq, verdict FROM recommender_eventverdict
    WHERE shard = %b::smallint AND seq = ANY(%b::bigint[]) FOR UPDATE
), decided AS (
    UPDATE recommender_eventverdict AS v
    SET verdict = %b::smallint, reasons = v.reasons & ~%b::integer | %b::integer, revised_in = %b::bigint
    FROM known WHERE v.id = known.id
)
SELECT coalesce(array_agg(seq), '{}'), coalesce(array_agg(verdict), '{}') FROM known
"""

Int64s = NDArray[np.int64]
CONFIRMED, UNJUDGED = int(Reason.CONFIRMED), int(Reason.UNJUDGED)
IN_NO_HISTORY = -1
CHUNK = 10_000  # rows in one statement
_COLUMNS = (
    *("ordinal", "step", "xid", "seq", "verdict", "score", "reasons", "evidence"),
    *("p_actor", "p_item", "p_network"),
)


def counts(result: StepResult) -> dict[str, int]:
    """Return the counts of a step's verdicts, by column of Step and Learner."""
    screened = result.verdicts
    return {
        "n_held": int(np.count_nonzero(screened.verdict == HOLD)),
        "n_quarantined": int(np.count_nonzero(screened.verdict == QUARANTINE)),
        "n_released": result.n_released,
        "n_retracted": result.n_retracted,
        "n_unjudged": int(np.count_nonzero(screened.reason & UNJUDGED)),
    }


def store(*, shard: int, first_ordinal: int, step: int, events: LogSlice, result: StepResult) -> None:
    """Write the verdicts of a step and its revisions, in the step's transaction.

    The caller opens the transaction. About 10 us a row.
    """
    rows = rows_of(first_ordinal=first_ordinal, step=step, xid=events.xid, seq=events.seq, verdicts=result.verdicts)
    if len(rows):
        insert(shard=shard, rows=rows)
    if len(result.revised):
        revise(shard=shard, steps=[step] * len(result.revised), revised=result.revised)


def percentiles(row: EventVerdict) -> dict[str, int | None]:
    """Return the evidence of a row by the name of the feature.

    An unknown feature is None. Without evidence the result is empty.
    """
    known = bytes(row.evidence or b"")
    return {name: None if value == UNKNOWN else value for name, value in zip(FEATURES, known, strict=False)}


class VerdictRows:
    """Rows to be written, as columns by name.

    `alpha` is the p-value up to which a forest objects.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self.alpha: float | None = None

    def __len__(self) -> int:
        return len(self.columns["ordinal"])

    def add(self, alpha: float | None, **columns: list[Any]) -> None:
        """Append rows, with None for columns that are not given."""
        n = len(columns["ordinal"])
        self.alpha = self.alpha if alpha is None else alpha
        for name, column in self.columns.items():
            column.extend(columns.get(name, [None] * n))


def rows_of(*, first_ordinal: int, step: int, xid: Int64s, seq: Int64s, verdicts: Verdicts) -> VerdictRows:
    """Return a row for each event that is not simply admitted.

    xid, seq: the positions of the events in the log, (n,).
    """
    found = VerdictRows()
    evidence = verdicts.evidence
    rows = np.flatnonzero(verdicts.verdict != Verdict.ADMIT)
    if not len(rows):
        return found
    known: list[bytes | None] = [None] * len(rows)
    p_values = np.full((len(rows), 3), np.nan, np.float32)
    places = np.searchsorted(rows, evidence.rows)
    p_values[places] = evidence.p_values
    for place, percentiles in zip(places.tolist(), evidence.percentiles, strict=True):
        known[place] = percentiles.tobytes()
    found.add(
        evidence.alpha,
        ordinal=(first_ordinal + rows).tolist(),
        step=[step] * len(rows),
        xid=xid[rows].tolist(),
        seq=seq[rows].tolist(),
        verdict=verdicts.verdict[rows].tolist(),
        score=verdicts.score[rows].tolist(),
        reasons=verdicts.reason[rows].tolist(),
        evidence=known,
        **{name: _with_nulls(p_values[:, entity]) for entity, name in enumerate(_COLUMNS[-3:])},
    )
    return found


def insert(*, shard: int, rows: VerdictRows, revised_in: int | None = None) -> None:
    """Write rows, and leave those that exist already unchanged."""
    for start in range(0, len(rows), CHUNK):
        columns = [event_log.nullable(column[start : start + CHUNK]) for column in rows.columns.values()]
        event_log.fetch(_INSERT, [shard, revised_in, revised_in, rows.alpha, *columns])


def revise(*, shard: int, steps: Sequence[int], revised: Revised) -> None:
    """Store the revised verdicts on events of earlier steps.

    steps: the step that revised each event.
    """
    ordinals = revised.ordinal.tolist()
    arrays = ordinals, revised.verdict.tolist(), revised.reason.tolist()
    (found,) = event_log.fetch(_REVISE, [*arrays, list(steps), shard])
    known = set(found)
    new = [place for place, ordinal in enumerate(ordinals) if ordinal not in known]
    if not new:
        return
    positions = positions_of(shard=shard, ordinals=[ordinals[place] for place in new])
    by_step = {steps[place]: VerdictRows() for place in new}
    for place, (number, position) in zip(new, positions, strict=True):
        by_step[steps[place]].add(
            None,
            ordinal=[ordinals[place]],
            step=[number],
            xid=[position.xid],
            seq=[position.seq],
            verdict=[int(revised.verdict[place])],
            score=[0.0],
            reasons=[int(revised.reason[place])],
        )
    for step, rows in by_step.items():
        insert(shard=shard, rows=rows, revised_in=step)


def decide(*, shard: int, step: int, decided: Sequence[Decision]) -> None:
    """Store the reviewers' rulings as verdicts on the events.

    Each ruling also keeps the verdicts before it. The caller's transaction is that of the step.
    """
    for decision in decided:
        is_release = decision.ruling == Ruling.RELEASE
        verdict = int(Verdict.ADMIT if is_release else Verdict.QUARANTINE)
        reason = CONFIRMED if decision.ruling == Ruling.CONFIRM else 0
        seqs, said = event_log.fetch(_DECIDE, [shard, decision.seq, verdict, CONFIRMED, reason, step])
        before = dict(zip(seqs, said, strict=True))
        at = zip(decision.xid, decision.seq, strict=True)
        new = ordinals_at(shard=shard, positions=[Position(*each) for each in at if each[1] not in before])
        before |= {position.seq: int(Verdict.ADMIT) for _, _, position in new}
        if not is_release and new:
            rows = VerdictRows()
            rows.add(
                None,
                ordinal=[ordinal for _, ordinal, _ in new],
                step=[number for number, _, _ in new],
                xid=[position.xid for _, _, position in new],
                seq=[position.seq for _, _, position in new],
                verdict=[verdict] * len(new),
                score=[0.0] * len(new),
                reasons=[reason] * len(new),
            )
            insert(shard=shard, rows=rows, revised_in=step)
        said_before = [before.get(seq, IN_NO_HISTORY) for seq in decision.seq]
        Decision.objects.filter(pk=decision.pk).update(before=said_before)


def forget_since(*, shard: int, step: int) -> None:
    """Undo the verdicts of all steps after a step.

    Rows of later steps are deleted. Revisions that later steps made to earlier rows are reversed.
    """
    of_shard = EventVerdict.objects.filter(shard=shard)
    of_shard.filter(step__gt=step).delete()
    undone = of_shard.filter(revised_in__gt=step)
    undone.filter(was_held=False, evidence=None, score=0.0).delete()  # admitted at first
    undone.filter(was_held=True).update(verdict=Verdict.HOLD, revised_in=None)
    undone.filter(was_held=False).update(verdict=Verdict.QUARANTINE, revised_in=None)


def _with_nulls(values: NDArray[np.float32]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def positions_of(*, shard: int, ordinals: Sequence[int]) -> list[tuple[int, Position]]:
    """Return the step that took each event, and the event's position in the log.

    It is (0, beginning) where the steps are no longer recorded. It reads the log once per step.
    """
    found: dict[int, tuple[int, Position]] = {}
    for ordinal in sorted(set(ordinals)):
        if ordinal in found:
            continue
        step = (
            Step.objects.filter(shard=shard, first_ordinal__lte=ordinal).order_by("-first_ordinal", "-number").first()
        )
        if step is not None:
            found |= {number: (step.number, position) for number, position in _numbered(step)}
    return [found.get(ordinal, (0, Position())) for ordinal in ordinals]


def ordinals_at(*, shard: int, positions: Sequence[Position]) -> list[tuple[int, int, Position]]:
    """Return (step, ordinal, position) of the events at these positions.

    Events that are not in the learner's history are left out. It reads the log once per step.
    """
    wanted = sorted(set(positions))
    found: list[tuple[int, int, Position]] = []
    while wanted:
        step = _step_at(shard, wanted[0])
        if step is None:
            return found
        end = Position(step.to_xid, step.to_seq)
        inside = {position for position in wanted if position <= end}
        if step.first_ordinal is not None:
            found += [(step.number, ordinal, position) for ordinal, position in _numbered(step) if position in inside]
        wanted = [position for position in wanted if position > end]
    return found


def _step_at(shard: int, position: Position) -> Step | None:
    """Return the first step that reaches to a position."""
    beyond = Q(to_xid__gt=position.xid) | Q(to_xid=position.xid, to_seq__gte=position.seq)
    return Step.objects.filter(beyond, shard=shard).order_by("to_xid", "to_seq", "number").first()


def _numbered(step: Step) -> list[tuple[int, Position]]:
    """Return (ordinal, position) of the events of a step, without excluded ones."""
    events = event_log.read_step(step)
    rows = np.setdiff1d(np.arange(len(events)), step.excluded or [])
    first = step.first_ordinal or 0
    return [(first + n, Position(int(events.xid[row]), int(events.seq[row]))) for n, row in enumerate(rows.tolist())]
