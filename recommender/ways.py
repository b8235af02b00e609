"""One shard's way back: a checkpoint's Pipeline, the steps recorded since folded into it, and what to write then.

    Way.advance ──> refold ──> figures by step, verdicts by event
    Way.switch  ──> Steps, EventVerdicts and the Learner row, in the caller's transaction

Nothing is written before `switch`, so whoever is killed on the way has changed nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F

from recommender import history, learner, verdicts, watching
from recommender.core.evaluation import Quality
from recommender.core.pipeline import Pipeline
from recommender.core.results import Revised, joined
from recommender.log import Position
from recommender.models import Checkpoint, Decision, Learner, Revert, Step
from recommender.refold import Folded, refold

BATCH = 2000  # rows written in one statement
FIGURES = (
    *("first_ordinal", "excluded", "n_admitted", "n_held", "n_quarantined", "n_released", "n_retracted"),
    *("n_unjudged", "n_predicted", "n_hits", "reciprocal_ranks", "n_trusted", "n_trusted_hits", "n_canary"),
    *("n_canary_hits", "alarm", "changed_ms"),
)


@dataclass(slots=True)
class Way:
    """See the module. `at_step`: the last step that is taken into account."""

    shard: int
    checkpoint: Checkpoint
    mode: str
    exclusion_id: int | None
    pipeline: Pipeline
    at_step: int
    n_folded: int = 0
    n_excluded: int = 0
    n_predicted: int = 0
    n_hits: int = 0
    steps: list[Step] = field(default_factory=list)
    judged: verdicts.Rows = field(default_factory=verdicts.Rows)
    revised: list[tuple[int, Revised]] = field(default_factory=list)
    decided: list[tuple[int, Decision]] = field(default_factory=list)

    @classmethod
    def begin(cls, checkpoint: Checkpoint, mode: str, exclusion_id: int | None) -> "Way":
        """At the checkpoint. Raises CheckpointCorrupt."""
        pipeline = Pipeline.from_bytes(bytes(checkpoint.data))
        return cls(checkpoint.shard, checkpoint, mode, exclusion_id, pipeline, checkpoint.step)

    def advance(self, to_step: int, on_events: Callable[[int], None] | None = None) -> None:
        """Fold what was recorded since, up to a step; `on_events` is told how many events. Raises LogIncomplete."""
        if self.mode == Revert.Mode.DROP:
            self.at_step = to_step
            return

        def note(folded: Folded) -> None:
            self._note(folded)
            if on_events:
                on_events(folded.step.n_events)

        refold(self.pipeline, self.shard, [[1, None, self.exclusion_id]], self.at_step, to_step, note)
        self.at_step = to_step

    def recipe(self, at_step: int) -> history.Recipe:
        """The history after a switch made at a step."""
        return history.reverted(self.checkpoint.recipe, self.mode, self.checkpoint.step, at_step, self.exclusion_id)

    def store(self) -> Checkpoint:
        """Keep the state as it is here."""
        position = Position(self.checkpoint.xid, self.checkpoint.seq)
        last = Step.objects.filter(shard=self.shard, number=self.at_step).first()
        if last:
            position = Position(last.to_xid, last.to_seq)
        return learner.store_checkpoint(
            self.pipeline, self.shard, self.at_step, position, self.recipe(self.at_step), self.checkpoint.pk
        )

    def switch(self, row: Learner, stored: Checkpoint) -> None:
        """Let the learner go on from here; `row` is locked and stands at `at_step`, `stored` is not behind it."""
        since = Step.objects.filter(shard=self.shard, number__gt=self.checkpoint.step, number__lte=self.at_step)
        since.update(first_ordinal=None, excluded=None)
        Step.objects.bulk_update(self.steps, FIGURES, batch_size=BATCH)
        self._switch_verdicts()
        Learner.objects.filter(shard=self.shard).update(
            checkpoint=stored, recipe=self.recipe(row.step), n_reverts=F("n_reverts") + 1
        )

    def _note(self, folded: Folded) -> None:
        step, result = folded.step, folded.result
        quality: Quality = result.quality
        figures: dict[str, Any] = {
            "first_ordinal": folded.first_ordinal,
            "excluded": folded.excluded.tolist() or None,
            "n_admitted": result.n_admitted,
            **watching.figures(result),
            **verdicts.counts(result),
        }
        for name, value in figures.items():
            setattr(step, name, value)
        self.steps.append(step)
        self.n_folded += result.n_events
        self.n_excluded += len(folded.excluded)
        self.n_predicted += quality.n
        self.n_hits += quality.hits
        verdicts.rows_of(
            first_ordinal=folded.first_ordinal,
            step=step.number,
            xid=folded.xid,
            seq=folded.seq,
            verdicts=result.verdicts,
            into=self.judged,
        )
        self.decided += [(step.number, decision) for decision in folded.decided]
        if len(result.revised):
            self.revised.append((step.number, result.revised))

    def _switch_verdicts(self) -> None:
        """What was said since the checkpoint is unsaid, and what is said now written."""
        verdicts.forget_since(shard=self.shard, step=self.checkpoint.step)
        verdicts.insert(shard=self.shard, rows=self.judged)
        steps = [step for step, revised in self.revised for _ in range(len(revised))]
        verdicts.revise(shard=self.shard, steps=steps, revised=joined([revised for _, revised in self.revised]))
        for step, decision in self.decided:
            verdicts.decide(shard=self.shard, step=step, decided=[decision])
