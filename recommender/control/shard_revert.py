"""Revert one shard: fold the steps after a checkpoint again, then switch to it.

    ShardRevert.retrace ──> if the checkpoint is of an abandoned history: fold that history up to the checkpoint
    ShardRevert.advance ──> refold ──> figures by step, verdicts by event
    ShardRevert.keep    ──> the pieces of the state, which may take seconds to send
    ShardRevert.switch  ──> checkpoint, Steps, EventVerdicts and the Learner row, in the caller's transaction

No row is written before `switch`, so a worker that is killed on the way has changed nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import F, Sum

from recommender import history
from recommender.core import state_versions
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.pipeline import Pipeline
from recommender.core.quality.evaluation import Quality
from recommender.core.state_versions import StateUnfit
from recommender.learning.checkpoints import state_writer
from recommender.learning.checkpoints.piece_table import PiecesGone
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.folded_rows import FoldedRows
from recommender.learning.refold import Folded, LogIncomplete, refold
from recommender.log.event_log import Position
from recommender.models import STATE_COLUMNS, Checkpoint, Learner, Revert, Step

logger = logging.getLogger(__name__)


class KeptState(NamedTuple):
    """A state whose pieces are stored, and the columns of a row that can name them."""

    step: int
    columns: dict[str, Any]


@dataclass(slots=True)
class ShardRevert:
    """The revert of one shard, as the module's docstring shows it.

    at_step: the last step that is folded in.
    rows: the new rows of the steps after the last one whose rows stay unchanged.
    kept: the state that `keep` stored last.
    """

    shard: int
    checkpoint: Checkpoint
    mode: str
    exclusion_id: int | None
    pipeline: Pipeline
    at_step: int
    rows: FoldedRows
    n_folded: int = 0
    n_excluded: int = 0
    n_predicted: int = 0
    n_hits: int = 0
    kept: KeptState | None = None

    @classmethod
    def begin(cls, checkpoint: Checkpoint, mode: str, exclusion_id: int | None) -> "ShardRevert":
        """Begin at the checkpoint. Raises CheckpointCorrupt and StoreUnavailable."""
        pipeline, rows = load_pipeline(checkpoint), FoldedRows(checkpoint.shard, checkpoint.step)
        return cls(checkpoint.shard, checkpoint, mode, exclusion_id, pipeline, checkpoint.step, rows)

    def retrace(self, recipe: history.Recipe) -> None:
        """Fold the checkpoint's own history if it is not part of the present one.

        The fold begins where the two histories part. It finds the figures and verdicts of the checkpoint's history.
        If the log no longer reaches back that far, they stay unknown.
        """
        theirs, step = self.checkpoint.recipe, self.checkpoint.step
        if history.begins_with(recipe, theirs, step):
            return
        older = Checkpoint.objects.defer(*STATE_COLUMNS).filter(shard=self.shard, step__lt=step)
        shared = (
            each
            for each in older.order_by("-step", "-id")
            if history.begins_with(recipe, each.recipe, each.step)
            and history.begins_with(theirs, each.recipe, each.step)
        )
        pipeline, since = Pipeline(self.pipeline.config), 0
        for each in shared:
            try:
                found = load_pipeline(each)
            except (CheckpointCorrupt, StateUnfit) as error:
                logger.warning("%s cannot be read, the fold begins at an older one: %s", each, error)
                continue
            if found.config == pipeline.config:  # every history begins at step 0, under any settings
                pipeline, since = found, each.step
                break
        self.rows = FoldedRows(self.shard, since)
        try:
            refold(pipeline, self.shard, theirs, since, step, self._note)
        except LogIncomplete as error:
            logger.warning("no figures are known of the steps %d to %d: %s", since + 1, step, error)
            self.rows = FoldedRows(self.shard, since)
        # these count only the events after the checkpoint
        self.n_folded = self.n_excluded = self.n_predicted = self.n_hits = 0

    def advance(self, to_step: int, on_events: Callable[[int], None] | None = None) -> None:
        """Fold the recorded steps up to a step.

        Raises LogIncomplete.

        on_events: gets the number of events after each step.
        """
        if self.mode == Revert.Mode.DROP:
            self.at_step = to_step
            return

        def note(folded: Folded) -> None:
            self._note(folded)
            if on_events:
                on_events(folded.step.n_events)

        refold(self.pipeline, self.shard, [[1, None, self.exclusion_id]], self.at_step, to_step, note)
        self.at_step = to_step

    def n_left(self, to_step: int) -> int:
        """Count the recorded events not folded yet, up to a step."""
        steps = Step.objects.filter(shard=self.shard, number__gt=self.at_step, number__lte=to_step)
        return int(steps.aggregate(n=Sum("n_events", default=0))["n"])

    def recipe(self, at_step: int) -> history.Recipe:
        """Return the history after a switch made at a step."""
        before, version = self.checkpoint, state_versions.FOLD_VERSION
        return history.reverted(before.recipe, self.mode, before.step, at_step, self.exclusion_id, version)

    def keep(self) -> None:
        """Store the pieces of the present state, so that `switch` need only name them.

        The caller must hold no lock, because an object store may take seconds. Raises StoreUnavailable.
        """
        self.kept = KeptState(self.at_step, state_writer.keep(self.pipeline))

    def name_kept(self) -> Checkpoint:
        """Name the state that `keep` stored, and lock its row.

        The lock lasts until the caller's transaction ends. Raises PiecesGone.
        """
        if self.kept is None:
            raise PiecesGone(f"no state of shard {self.shard} was kept before the switch")
        step, columns = self.kept
        last = Step.objects.filter(shard=self.shard, number=step).first()
        position = Position(last.to_xid, last.to_seq) if last else Position(self.checkpoint.xid, self.checkpoint.seq)
        # thinning may have dropped the parent, or drop the row if it was here before
        parent = Checkpoint.objects.filter(pk=self.checkpoint.pk).values_list("pk", flat=True).first()
        named = state_writer.name_checkpoint(columns, self.shard, step, position, self.recipe(step), parent)
        if not Checkpoint.objects.select_for_update().filter(pk=named.pk).exists():
            raise PiecesGone(f"{named} was dropped before the switch")
        return named

    def switch(self, row: Learner) -> Checkpoint:
        """Let the learner go on from the kept state, and return its checkpoint.

        `row` must be locked and at `at_step`. The kept state may be some steps older, and a restore folds these.
        Raises PiecesGone. Then the caller ends its transaction, calls `keep` and tries again.
        """
        stored = self.name_kept()
        since = Step.objects.filter(shard=self.shard, number__gt=self.rows.since, number__lte=self.at_step)
        since.update(first_ordinal=None, excluded=None)
        self.rows.write()
        Learner.objects.filter(shard=self.shard).update(
            checkpoint=stored,
            recipe=self.recipe(row.step),
            n_reverts=F("n_reverts") + 1,
            fold_version=state_versions.FOLD_VERSION,
        )
        return stored

    def _note(self, folded: Folded) -> None:
        quality: Quality = folded.result.quality
        self.n_folded += folded.result.n_events
        self.n_excluded += len(folded.excluded)
        self.n_predicted += quality.n
        self.n_hits += quality.hits
        self.rows.note(folded)
