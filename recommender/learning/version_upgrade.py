"""Let a newer version take a shard over, and let an older one do nothing.

    Learner row of a newer version ──> is_newer: this worker neither steps, publishes nor writes a checkpoint
    Learner row of an older version ──restore──> its checkpoint, migrated, and the steps since, folded again
                                    ──complete──> one transaction: the rows of these steps, a checkpoint,
                                                  the Learner row (compare-and-set), an Upgrade

The checkpoint before an upgrade is the last one of the older version. The steps that the older version took after it
are folded again by the newer version, because no later state of the older version is at hand. The Upgrade has their
number, and the recipe (`recommender.history`) tells which version folded each step.

Digests are promised within one version. So a checkpoint is verified from the first one after the last upgrade
(`find_start`).
"""

import logging

from django.db import transaction

from recommender import history
from recommender.core import state_versions
from recommender.core.pipeline import Pipeline
from recommender.learning.checkpoints import state_writer, thinning
from recommender.learning.folded_rows import FoldedRows
from recommender.learning.learner_state import release_of
from recommender.log.event_log import Position
from recommender.models import STATE_COLUMNS, Checkpoint, Learner, Upgrade
from recommender.process_state import remembered

logger = logging.getLogger(__name__)

_told: dict[int, int] = {}  # by shard: the newer version that was logged last


class UpgradeLost(Exception):
    """Another process changed the shard during its upgrade.

    The next wake starts from the new state.
    """


@remembered
def forget() -> None:
    """Log a newer version again."""
    _told.clear()


def is_newer(learner: Learner) -> bool:
    """Return whether a newer version learns the shard, and log it once."""
    version = learner.fold_version
    if version <= state_versions.FOLD_VERSION:
        if _told.pop(learner.shard, None):
            logger.warning("shard %d is of this version again, this worker goes on with it", learner.shard)
        return False
    if _told.get(learner.shard) != version:
        _told[learner.shard] = version
        logger.warning(
            "shard %d belongs to a newer version: its state was %s. This worker does nothing for the shard",
            learner.shard,
            state_versions.name_newer(version, release_of(version)),
        )
    return True


def is_due(learner: Learner, from_step: int) -> bool:
    """Return whether a state restored from `from_step` must be recorded as an upgrade.

    It must if an older version wrote the Learner row, or folded one of the steps that were folded again.
    """
    version = state_versions.FOLD_VERSION
    last = history.last_of_other_version(learner.recipe, from_step, learner.step, version)
    return learner.fold_version < version or last > 0


def complete(learner: Learner, pipeline: Pipeline, loaded: Checkpoint | None, refolded: FoldedRows) -> Learner:
    """Make a restored state the shard's own, and return the new Learner row.

    1. Store the pieces of the state, and name them in a checkpoint whose recipe names the versions.
    2. Write the figures and verdicts of the steps that were folded again.
    3. Move the Learner row to this version, if no one changed it since it was read.
    4. Record the Upgrade.

    Raises UpgradeLost.

    loaded: the checkpoint that the state was restored from. None if it was folded from nothing.
    """
    version, before = state_versions.FOLD_VERSION, loaded.step if loaded else 0
    recipe = history.relearned(learner.recipe, before, version)
    from_version = min(learner.fold_version, loaded.fold_version if loaded else 1)
    columns = state_writer.keep(pipeline)
    with transaction.atomic():
        position = Position(learner.xid, learner.seq)
        after = state_writer.name_checkpoint(
            columns, learner.shard, learner.step, position, recipe, loaded.pk if loaded else None
        )
        unmoved = Learner.objects.filter(
            shard=learner.shard,
            step=learner.step,
            checkpoint=learner.checkpoint_id,
            n_reverts=learner.n_reverts,
            fold_version=learner.fold_version,
        )
        if not unmoved.update(checkpoint=after, recipe=recipe, fold_version=version):
            raise UpgradeLost(f"another process changed shard {learner.shard} during its upgrade")
        Checkpoint.objects.filter(pk=after.pk).update(recipe=history.closed(recipe, learner.step))  # it may be old
        refolded.write()
        upgrade = Upgrade.objects.create(
            shard=learner.shard,
            step=learner.step,
            from_version=from_version,
            to_version=version,
            from_release=state_versions.release_of(from_version),
            to_release=state_versions.release_of(version),
            before=loaded.pk if loaded else None,
            before_step=before,
            before_digest=loaded.digest if loaded else "",
            after=after.pk,
            after_digest=after.digest,
        )
    logger.warning("%s", upgrade.sentence())
    thinning.thin_checkpoints(learner.shard)
    return Learner.objects.get(shard=learner.shard)


class DigestsDiffer(ValueError):
    """Digests of different versions of the fold cannot be compared.

    The message names the way out.
    """


def find_start(checkpoint: Checkpoint) -> Checkpoint | None:
    """Return the checkpoint from which this version can fold up to another one.

    It is None if this version folded the whole history. Otherwise it is the oldest kept checkpoint after the last
    step that another version folded. Raises DigestsDiffer if there is none.
    """
    check_comparable(checkpoint)
    version = state_versions.FOLD_VERSION
    since = history.last_of_other_version(checkpoint.recipe, 0, checkpoint.step, version)
    if not since:
        return None
    kept = Checkpoint.objects.defer(*STATE_COLUMNS).filter(
        shard=checkpoint.shard, step__gte=since, step__lte=checkpoint.step
    )
    for each in kept.exclude(pk=checkpoint.pk).order_by("step", "id"):
        if history.begins_with(checkpoint.recipe, each.recipe, each.step):
            return each
    raise DigestsDiffer(
        f"another version of the fold learned the steps up to {since}, and no other checkpoint since then is kept:"
        f" {checkpoint} has nothing to be compared with. Verify a later checkpoint"
    )


def check_comparable(checkpoint: Checkpoint) -> None:
    """Raise DigestsDiffer if another version of the fold wrote a checkpoint."""
    version = state_versions.FOLD_VERSION
    if checkpoint.fold_version != version:
        release = release_of(checkpoint.fold_version)
        raise DigestsDiffer(
            f"{checkpoint} was written by {release} (fold version {checkpoint.fold_version}), and this is fold"
            f" version {version}. Digests are promised within one version: verify it with {release}, or verify a"
            " checkpoint after the upgrade"
        )
