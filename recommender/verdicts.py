"""Verdicts kept: every event that was not simply admitted, for reviewers, in the transaction of its step.

    StepResult.verdicts ──> a row for each event held or quarantined, with the evidence (core.evidence)
    StepResult.revised  ──> held: released or condemned;  admitted before: taken back out, a row of its own

An event is named by its number in the fold (`ordinal`), because the core knows no log; where it stands in the log
follows from the step that took it. `verdict` is the last word, `was_held` remembers the first.

One statement writes a step's rows, as arrays that the server unnests: in a flood of fakes most events have one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender import log
from recommender.core.evidence import UNKNOWN
from recommender.core.feature_kernels import FEATURES
from recommender.core.results import Revised, StepResult
from recommender.core.screen import Verdict
from recommender.log import LogSlice, Position
from recommender.models import EventVerdict, Step

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

# Of an event revised twice in a step the last word counts, and every reason.
_REVISE = """
WITH revised AS (
    SELECT ordinal, (array_agg(verdict ORDER BY n DESC))[1] AS verdict, bit_or(reasons) AS reasons
    FROM unnest(%b::bigint[], %b::smallint[], %b::integer[]) WITH ORDINALITY AS t(ordinal, verdict, reasons, n)
    GROUP BY ordinal
), known AS (
    UPDATE recommender_eventverdict AS v
    SET verdict = revised.verdict, reasons = v.reasons | revised.reasons, revised_in = %b::bigint
    FROM revised WHERE v.shard = %b::smallint AND v.ordinal = revised.ordinal
    RETURNING v.ordinal
)
SELECT coalesce(array_agg(ordinal), '{}') FROM known
"""


def store(*, shard: int, first_ordinal: int, step: int, events: LogSlice, result: StepResult) -> None:
    """Write the verdicts of a step and what it revised; the caller's transaction is the step's. 10 us a row."""
    verdicts, evidence = result.verdicts, result.verdicts.evidence
    rows = np.flatnonzero(verdicts.verdict != Verdict.ADMIT)
    if len(rows):
        known: list[bytes | None] = [None] * len(rows)
        p_values = np.full((len(rows), 3), np.nan, np.float32)
        places = np.searchsorted(rows, evidence.rows)
        p_values[places] = evidence.p_values
        for place, percentiles in zip(places.tolist(), evidence.percentiles, strict=True):
            known[place] = percentiles.tobytes()
        _insert(
            shard,
            None,
            evidence.alpha,
            (first_ordinal + rows).tolist(),
            [step] * len(rows),
            events.xid[rows].tolist(),
            events.seq[rows].tolist(),
            verdicts.verdict[rows].tolist(),
            verdicts.score[rows].tolist(),
            verdicts.reason[rows].tolist(),
            known,
            *(_with_nulls(p_values[:, entity]) for entity in range(3)),
        )
    if len(result.revised):
        _revise(shard, step, result.revised)


def percentiles(row: EventVerdict) -> dict[str, int | None]:
    """The evidence by the name of the feature; None where it was unknown, nothing where there is none."""
    known = bytes(row.evidence or b"")
    return {name: None if value == UNKNOWN else value for name, value in zip(FEATURES, known, strict=False)}


def _revise(shard: int, step: int, revised: Revised) -> None:
    ordinals = revised.ordinal.tolist()
    arrays = ordinals, revised.verdict.tolist(), revised.reason.tolist()
    (found,) = log.fetch(_REVISE, [*arrays, step, shard])
    known = set(found)
    new = [place for place, ordinal in enumerate(ordinals) if ordinal not in known]
    if not new:
        return
    positions = positions_of(shard=shard, ordinals=[ordinals[place] for place in new])
    nothing = [None] * len(new)
    _insert(
        shard,
        step,
        None,
        [ordinals[place] for place in new],
        [number for number, _ in positions],
        [position.xid for _, position in positions],
        [position.seq for _, position in positions],
        revised.verdict[new].tolist(),
        [0.0] * len(new),
        revised.reason[new].tolist(),
        *[nothing] * 4,
    )


def _insert(shard: int, revised_in: int | None, alpha: float | None, *columns: list[Any]) -> None:
    log.fetch(_INSERT, [shard, revised_in, revised_in, alpha, *(log.nullable(column) for column in columns)])


def _with_nulls(values: NDArray[np.float32]) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


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
