"""Make the state of a warm Pipeline the active checkpoint of its Learner.

    begin ──> a forked process writes the state's pieces while the learner goes on (`forked_writer`)
    finish, at a later wake ──> a row names the pieces and becomes the Learner's (compare-and-set)
    write ──> both at once, in this process

A restore begins at the active checkpoint. One that cannot be written only makes the next restore longer.
"""

import logging
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from recommender.core import state_versions
from recommender.learning.checkpoints import forked_writer, state_writer
from recommender.learning.warm_pipeline import LearnerMoved, Snapshot, WarmPipeline
from recommender.models import Checkpoint, Learner
from recommender.process_state import clock

CHECKPOINT_SHARE = 0.05  # of the time a checkpoint is being written, at most
RETRY_CHECKPOINT_S = 10.0  # after one that failed
logger = logging.getLogger(__name__)


def write(warm: WarmPipeline, learner: Learner) -> Checkpoint:
    """Store the warm Pipeline as the Learner's active checkpoint now, and wait for it.

    Raises LearnerMoved if the Learner has another checkpoint by now, CheckpointFailed, StoreUnavailable, and the
    errors of the database.
    """
    snapshot = Snapshot(warm.step, warm.position, clock(), None)
    return install(warm, learner, snapshot, state_writer.keep(warm.pipeline))


def begin(warm: WarmPipeline, learner: Learner) -> None:
    """Begin to write a checkpoint of the warm Pipeline.

    It does nothing while another shard's is under way in this process, or while a forest is fitted in a thread. Where
    no process can be forked it is also finished here. Raises LearnerMoved.
    """
    if forked_writer.is_running() or warm.pipeline.is_fitting:
        return
    writing = None
    began_at = clock()
    if forked_writer.is_possible():
        try:
            writing = forked_writer.begin(warm.pipeline, learner.shard)
        except OSError as error:
            logger.warning("no process can be forked, so shard %d waits for its checkpoint: %s", learner.shard, error)
    warm.snapshot = Snapshot(warm.step, warm.position, began_at, writing)
    if writing is None:
        finish(warm, learner)


def finish(warm: WarmPipeline, learner: Learner, *, wait: bool = False) -> None:
    """Make the checkpoint under way the Learner's, if its pieces are written.

    A failure is logged and noted in the Learner row, and the checkpoint is tried again later. Learning goes on, for a
    checkpoint only shortens the next restore. Raises LearnerMoved.
    """
    snapshot = warm.snapshot
    if snapshot is None:
        return
    try:
        if snapshot.writing is None:
            forked_writer.thin(learner.shard, with_pieces=forked_writer.take_turn())
            columns: dict[str, Any] | None = state_writer.keep(warm.pipeline)
        else:
            columns = snapshot.writing.wait() if wait else snapshot.writing.poll()
        if columns is None:
            return
        warm.snapshot = None
        install(warm, learner, snapshot, columns)
    except LearnerMoved:
        raise
    except Exception as error:  # of the database, the store, the disk, the process
        warm.give_up()
        _note_failure(learner, error)
        warm.checkpoint_due_at = clock() + max(settings.CHECKPOINT_EVERY_S, RETRY_CHECKPOINT_S)
        return
    now = clock()
    pause_s = max(settings.CHECKPOINT_EVERY_S, (now - snapshot.began_at) / CHECKPOINT_SHARE)
    warm.checkpoint_due_at = now + pause_s


def install(warm: WarmPipeline, learner: Learner, snapshot: Snapshot, columns: dict[str, Any]) -> Checkpoint:
    """Name the pieces of a state in a row, and make it the Learner's.

    Both happen in one transaction. Raises LearnerMoved if the Learner has another checkpoint by now. Then the state
    may belong to a history that was reverted.
    """
    with transaction.atomic():
        checkpoint = state_writer.name_checkpoint(
            columns, learner.shard, snapshot.step, snapshot.position, learner.recipe, learner.checkpoint_id
        )
        unmoved = Learner.objects.filter(
            shard=learner.shard,
            checkpoint=warm.checkpoint_id,
            n_reverts=learner.n_reverts,
            fold_version=state_versions.FOLD_VERSION,
        )
        if not unmoved.update(checkpoint=checkpoint, checkpoint_error="", checkpoint_failed_at=None):
            raise LearnerMoved(f"another process gave shard {learner.shard} a new state")
    learner.checkpoint = checkpoint
    warm.checkpoint_id, warm.checkpoint_step = checkpoint.pk, snapshot.step
    return checkpoint


def _note_failure(learner: Learner, error: Exception) -> None:
    """Log why a checkpoint failed, and note it for health, metrics and console."""
    cause = str(error).strip() or type(error).__name__
    logger.error("the checkpoint of shard %d cannot be written, learning goes on: %s", learner.shard, cause)
    try:
        with transaction.atomic():
            Learner.objects.filter(shard=learner.shard).update(
                checkpoint_error=cause[:1000],
                checkpoint_failed_at=Coalesce("checkpoint_failed_at", Now()),
                n_checkpoint_failures=F("n_checkpoint_failures") + 1,
            )
    except DatabaseError as unnoted:
        logger.error("nor can this be noted in the database: %s", str(unnoted).strip())
