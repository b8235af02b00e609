"""Fold a shard's recorded steps afresh, while the learner goes on.

    rebuild(learner): the whole log, under the present settings ──> the Learner's new state
    verify(checkpoint): the steps up to a checkpoint, under its own settings ──> a digest to compare

Both fold the recorded ranges of the log (`refold`) on a Pipeline of their own, not on the warm one.
"""

from django.db import transaction

from recommender import history, locks
from recommender.core import state_versions
from recommender.core.pipeline import Pipeline
from recommender.learning import pipeline_settings, version_upgrade
from recommender.learning.checkpoints import state_writer
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.refold import refold
from recommender.learning.warm_pipeline import LearnerMoved
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Learner


def rebuild(learner: Learner) -> Checkpoint:
    """Fold the whole log again under the present settings, and make that the state.

    Learning goes on meanwhile, and the next wake folds in the steps it took. Raises LogIncomplete if the log no
    longer reaches back to the first step, and LearnerMoved if the shard belongs to a newer version.
    """
    if version_upgrade.is_newer(learner):
        raise LearnerMoved(f"a newer version learns shard {learner.shard}: rebuild it with that version")
    pipeline = Pipeline(pipeline_settings.configured())
    with locks.hold(locks.HISTORY, is_shared=True) as is_free:
        if not is_free:
            raise LearnerMoved("an actor is being erased from the log: rebuild when that is done")
        refold(pipeline, learner.shard, learner.recipe, 0, learner.step)
        return _install(pipeline, learner)


def _install(pipeline: Pipeline, learner: Learner) -> Checkpoint:
    version = state_versions.FOLD_VERSION
    recipe = history.relearned(learner.recipe, 0, version)
    columns = state_writer.keep(pipeline)
    with transaction.atomic():
        position = Position(learner.xid, learner.seq)
        checkpoint = state_writer.name_checkpoint(columns, learner.shard, learner.step, position, recipe, None)
        checkpoint.recipe = history.closed(recipe, learner.step)  # that of a row with this state may be older
        checkpoint.save(update_fields=["recipe"])
        unmoved = Learner.objects.filter(shard=learner.shard, n_reverts=learner.n_reverts, fold_version__lte=version)
        if not unmoved.update(checkpoint=checkpoint, recipe=recipe, fold_version=version):
            raise LearnerMoved(f"the history of shard {learner.shard} changed during the rebuild: rebuild it again")
    return checkpoint


def verify(checkpoint: Checkpoint, start: Checkpoint | None = None) -> str:
    """Return the digest of a fresh fold of a checkpoint's history, at its step.

    The fold begins at the checkpoint `start`, or else at `version_upgrade.find_start`. Raises LogIncomplete,
    CheckpointCorrupt, StoreUnavailable and DigestsDiffer. Raises ValueError if the checkpoint does not descend from
    `start`.
    """
    version_upgrade.check_comparable(checkpoint)
    start = start or version_upgrade.find_start(checkpoint)
    if start:
        if not history.begins_with(checkpoint.recipe, start.recipe, start.step):
            raise ValueError(
                f"{checkpoint} does not descend from {start}, because the learner was reverted in between:"
                " choose another start"
            )
        version = state_versions.FOLD_VERSION
        if other := history.last_of_other_version(checkpoint.recipe, start.step, checkpoint.step, version):
            raise version_upgrade.DigestsDiffer(
                f"another version of the fold learned the steps from {start} up to step {other}. Digests are promised"
                f" within one version: choose a start at step {other} or later"
            )
        pipeline, step = load_pipeline(start), start.step
    else:
        pipeline, step = Pipeline(load_pipeline(checkpoint).config), 0
    refold(pipeline, checkpoint.shard, checkpoint.recipe, step, checkpoint.step)
    return pipeline.digest()
