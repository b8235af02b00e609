"""Write the figures and verdicts of steps that were folded again outside a revert.

    refold ──note──> RefoldedRows: figures by step, verdicts by event ──write──> Step, EventVerdict

An upgrade folds the steps after its checkpoint again by the new version, which may judge them in another way. So
these rows must follow, in the transaction that switches the learner over.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from recommender.core import state_versions
from recommender.core.step_result import Revised, joined
from recommender.learning import quality_log, verdict_writer
from recommender.learning.refold import Folded
from recommender.models import Decision, Step

BATCH = 1000  # steps written in one statement


class RefoldedRows:
    """The rows of a shard's steps after `since`, as a fold found them."""

    def __init__(self, shard: int, since: int) -> None:
        self.shard, self.since = shard, since
        self.steps: list[Step] = []
        self._names: set[str] = set()
        self._judged = verdict_writer.VerdictRows()
        self._revised: list[tuple[int, Revised]] = []
        self._decided: list[tuple[int, Decision]] = []

    def note(self, folded: Folded) -> None:
        """Note a step. This is an `on_step` of `refold`."""
        step, result = folded.step, folded.result
        figures: dict[str, Any] = {
            "first_ordinal": folded.first_ordinal,
            "excluded": folded.excluded.tolist() or None,
            "n_admitted": result.n_admitted,
            "fold_version": state_versions.FOLD_VERSION,
            **quality_log.figures(result),
            **verdict_writer.counts(result),
        }
        for name, value in figures.items():
            setattr(step, name, value)
        self._names |= figures.keys()
        self.steps.append(step)
        verdict_writer.rows_of(
            first_ordinal=folded.first_ordinal,
            step=step.number,
            xid=folded.xid,
            seq=folded.seq,
            verdicts=result.verdicts,
            into=self._judged,
        )
        self._decided += [(step.number, decision) for decision in folded.decided]
        if len(result.revised):
            self._revised.append((step.number, result.revised))

    def write(self) -> None:
        """Replace the rows of these steps, in the caller's transaction.

        Verdicts on one event are written in the order of steps.
        """
        if not self.steps:
            return
        Step.objects.bulk_update(self.steps, sorted(self._names), batch_size=BATCH)
        verdict_writer.forget_since(shard=self.shard, step=self.since)
        verdict_writer.insert(shard=self.shard, rows=self._judged)
        start = 0
        for step, decision in self._decided:
            end = bisect_right(self._revised, step, key=lambda each: each[0])
            self._revise(self._revised[start:end])
            verdict_writer.decide(shard=self.shard, step=step, decided=[decision])
            start = end
        self._revise(self._revised[start:])

    def _revise(self, revised: Sequence[tuple[int, Revised]]) -> None:
        if revised:
            steps = [step for step, each in revised for _ in range(len(each))]
            verdict_writer.revise(shard=self.shard, steps=steps, revised=joined([each for _, each in revised]))
