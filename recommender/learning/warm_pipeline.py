"""A Pipeline in memory, and the way back to it from the database.

    restore(learner): newest sound checkpoint ──> fold of the recorded steps since ──> WarmPipeline
    take_over(learner): the same, and an older version's shard is recorded as this version's (`version_upgrade`)

The learner keeps its WarmPipeline from wake to wake, and compares its `stand` with the Learner row.
"""

import logging
import time
from dataclasses import dataclass
from math import inf

from recommender import history
from recommender.core import state_versions
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.pipeline import Pipeline
from recommender.core.shadow_trend import Shadow
from recommender.core.state_versions import StateNewer
from recommender.errors import Transient
from recommender.history import Recipe
from recommender.learning import pipeline_settings, version_upgrade
from recommender.learning.checkpoints.forked_writer import Writing
from recommender.learning.checkpoints.state_reader import drop_damaged_pieces, load_pipeline
from recommender.learning.folded_rows import FoldedRows
from recommender.learning.refold import refold
from recommender.log import origin
from recommender.log.event_log import Position
from recommender.log.origin import Origin
from recommender.models import STATE_COLUMNS, Checkpoint, Learner
from recommender.publishing.publisher import Publisher

logger = logging.getLogger(__name__)


class LearnerMoved(Transient):
    """Another learner or an operator changed the shard first.

    The next wake starts from the new state.
    """


@dataclass(slots=True)
class Snapshot:
    """A checkpoint under way: what the Learner was when the state was taken.

    writing: the process that writes its pieces. None: the learner writes them itself.
    """

    step: int
    position: Position
    began_at: float
    writing: Writing | None


@dataclass(slots=True)
class WarmPipeline:
    """A Pipeline in memory and its position in the log.

    loaded, refolded: the checkpoint it was restored from, and the rows of the steps after it. They are kept only if
    another version of the fold wrote them (`version_upgrade`).
    """

    pipeline: Pipeline
    step: int
    position: Position
    publisher: Publisher
    checkpoint_id: int | None
    checkpoint_step: int
    n_reverts: int
    origin: Origin
    loaded: Checkpoint | None = None
    refolded: FoldedRows | None = None
    shadow: Shadow | None = None
    checkpoint_due_at: float = -inf
    snapshot: Snapshot | None = None
    step_due_at: float = -inf

    @property
    def stand(self) -> tuple[int, int | None, int, Origin]:
        """Return the values that differ if another process changed the Learner row.

        The origin differs if the database was moved. After a recovery to an earlier time, other steps and checkpoints
        get the same numbers.
        """
        return self.step, self.checkpoint_id, self.n_reverts, self.origin

    def give_up(self) -> None:
        """End what is under way for a Pipeline that is no longer used."""
        if self.snapshot and self.snapshot.writing:
            self.snapshot.writing.kill()
        self.snapshot = None


def take_over(learner: Learner) -> tuple[WarmPipeline, Learner]:
    """Restore a shard's Pipeline, and record an upgrade if one is due.

    Returns the Pipeline and the Learner row as they are now. Raises LogIncomplete, LearnerMoved.
    """
    warm = restore(learner, is_learner=True)
    if warm.refolded is not None:
        try:
            learner = version_upgrade.complete(learner, warm.pipeline, warm.loaded, warm.refolded)
        except version_upgrade.UpgradeLost as error:
            raise LearnerMoved(str(error)) from error
        warm.loaded = warm.refolded = None
        warm.checkpoint_id, warm.checkpoint_step = learner.checkpoint_id, learner.step
    return warm, learner


def restore(learner: Learner, *, is_learner: bool = False) -> WarmPipeline:
    """Return the Pipeline at the Learner's position.

    It loads the newest sound checkpoint and folds the steps recorded after it. Without a sound checkpoint it folds
    the whole log again. Nothing is written, also if another version of the fold left the shard behind (`take_over`).

    is_learner: for the learner itself. Damaged pieces are dropped, so that its next checkpoint has them again.

    Raises LogIncomplete if the log or the steps no longer reach back far enough. Raises StateNewer for a newer
    version's state. Raises StoreUnavailable if the object store that has the checkpoint does not answer. An older
    checkpoint or the log would cost minutes or not be enough, and the store will be back.
    """
    began_at, server = time.monotonic(), origin.current()
    pipeline, checkpoint = None, learner.checkpoint
    looked_at: set[bytes] = set()
    while checkpoint and pipeline is None:
        try:
            pipeline = load_pipeline(checkpoint)
        except StateNewer:  # an older state would not do
            raise
        except ValueError as error:  # damaged, or it does not fit
            logger.error("%s cannot be read, an older one is used: %s", checkpoint, error)
            if is_learner and isinstance(error, CheckpointCorrupt):
                drop_damaged_pieces(checkpoint, looked_at)
            checkpoint = _before(checkpoint, learner.recipe)
    if pipeline is None:
        logger.error("shard %d has no sound checkpoint, its whole log is folded again", learner.shard)
        pipeline = Pipeline(pipeline_settings.configured())
    from_step = checkpoint.step if checkpoint else 0
    refolded = None
    if version_upgrade.is_due(learner, from_step):
        refolded = FoldedRows(learner.shard, from_step)
        if learner.fold_version == state_versions.FOLD_VERSION:
            logger.warning(
                "shard %d goes back to step %d, before its upgrade to fold version %d: this version learns the steps"
                " since again, so their digests differ from the recorded ones",
                learner.shard,
                from_step,
                learner.fold_version,
            )
    refold(pipeline, learner.shard, learner.recipe, from_step, learner.step, refolded.note if refolded else None)
    took_s = time.monotonic() - began_at
    logger.info("shard %d restored at step %d from %s in %.2f s", learner.shard, learner.step, checkpoint, took_s)
    position = Position(learner.xid, learner.seq)
    publisher = Publisher(learner.shard)
    return WarmPipeline(
        pipeline,
        learner.step,
        position,
        publisher,
        learner.checkpoint_id,
        from_step,
        learner.n_reverts,
        server,
        checkpoint if refolded else None,
        refolded,
    )


def _before(checkpoint: Checkpoint, recipe: Recipe) -> Checkpoint | None:
    """Return the newest earlier checkpoint that this history passes through."""
    older = Checkpoint.objects.defer(*STATE_COLUMNS).filter(
        shard=checkpoint.shard, step__lte=checkpoint.step, id__lt=checkpoint.pk
    )
    for each in older.order_by("-step", "-id"):
        if history.begins_with(recipe, each.recipe, each.step):
            return each
    return None
