"""Write the rows of steps that were folded again: their figures and verdicts.

    refold ──note──> figures by step, verdicts by event ──write──> Step, EventVerdict

A revert, an erasure and an upgrade fold recorded steps again. Their rows follow in the transaction that switches the
learner over.
"""

from typing import Any

from recommender.core import state_versions
from recommender.learning import quality_log, verdict_writer
from recommender.learning.fold_verdicts import FoldVerdicts
from recommender.learning.refold import Folded
from recommender.log import event_log

BATCH = 5000  # rows written in one statement
FIGURES = {
    "first_ordinal": "bigint",
    **dict.fromkeys(("n_admitted", "n_held", "n_quarantined", "n_released", "n_retracted"), "integer"),
    **dict.fromkeys(("n_events", "n_unjudged", "n_predicted", "n_hits"), "integer"),
    **dict.fromkeys(("n_trusted", "n_trusted_hits", "n_canary", "n_canary_hits", "alarm"), "integer"),
    **dict.fromkeys(("changed_ms", "stream_ms"), "bigint"),
    "fold_version": "smallint",
    "reciprocal_ranks": "float8",
}
_COLUMNS = ("id", "excluded", *FIGURES)
_UPDATE_STEPS = f"""
WITH changed AS (
    UPDATE recommender_step AS s
    SET {", ".join(f"{name} = t.{name}" for name in FIGURES)}, excluded = t.excluded::integer[]
    FROM unnest(%b::bigint[], %b::text[], {", ".join(f"%b::{each}[]" for each in FIGURES.values())})
         AS t({", ".join(_COLUMNS)})
    WHERE s.id = t.id RETURNING 1
)
SELECT count(*) FROM changed
"""  # noqa: S608 - names of our own


class FoldedRows:
    """The rows of a shard's steps after `since`, as a fold found them.

    steps: the figures of each step by its number, in the order of `_COLUMNS`.
    """

    def __init__(self, shard: int, since: int) -> None:
        self.shard, self.since = shard, since
        self.steps: dict[int, tuple[Any, ...]] = {}
        self._verdicts = FoldVerdicts()

    def note(self, folded: Folded) -> None:
        """Note a step, with its present number of events and stream time.

        This is an `on_step` of `refold`.
        """
        step, result = folded.step, folded.result
        figures: dict[str, Any] = {
            "id": step.pk,
            "excluded": f"{{{','.join(map(str, folded.excluded.tolist()))}}}" if len(folded.excluded) else None,
            "first_ordinal": folded.first_ordinal,
            "n_events": step.n_events,
            "n_admitted": result.n_admitted,
            "fold_version": state_versions.FOLD_VERSION,
            "stream_ms": step.stream_ms,
            **quality_log.figures(result),
            **verdict_writer.counts(result),
        }
        self.steps[step.number] = tuple([figures[name] for name in _COLUMNS])
        self._verdicts.note(folded)

    def write(self) -> None:
        """Write the figures and verdicts, in the caller's transaction."""
        self.write_steps()
        self.write_verdicts()

    def write_steps(self) -> None:
        """Write the figures of the steps."""
        rows = list(self.steps.values())
        for start in range(0, len(rows), BATCH):
            columns = zip(*rows[start : start + BATCH], strict=True)
            event_log.fetch(_UPDATE_STEPS, [event_log.nullable(list(column)) for column in columns])

    def write_verdicts(self) -> None:
        """Replace the verdicts given since by those of the fold.

        The steps must be written, because revisions read the log by them.
        """
        verdict_writer.forget_since(shard=self.shard, step=self.since)
        self._verdicts.write(shard=self.shard)
