"""The learner: the only writer of a shard's Pipeline.

    learn(shard):  Learner row ──> warm Pipeline, or restore()
                   event_log.read ──> Pipeline.step ──> one transaction: Learner moved on (compare-and-set), a Step
                   ──> publish, checkpoint when due ──> again, until the log has no full step left

    restore(shard): newest sound checkpoint ──> fold of the recorded steps since

    a Learner row of another version of the fold ──> version_upgrade: take it over, or do nothing
    checkpoint: a forked process writes the state's pieces while the learner goes on (`forked_writer`)
                ──> the learner names them in a row and makes it its own (compare-and-set)

Tasks wake the learner, and it keeps the Pipeline warm between them. Memory may be ahead of the database only inside
`take_step`. If anything fails there, the warm Pipeline is dropped and the next wake restores it. Two learners of one
shard do no harm: of two steps from one position only one is committed, and the loser drops its Pipeline. A step
records the range of the log it took, because the visible events depend on the moment of reading. Every refold takes
the same ranges.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from recommender import database_clock, history, ids, locks
from recommender.core import state_versions
from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.pipeline import Config, Pipeline
from recommender.core.screen import ScreenConfig
from recommender.core.shadow_trend import Shadow
from recommender.core.state_versions import StateNewer
from recommender.core.trust import TrustConfig
from recommender.history import Recipe
from recommender.learning import quality_log, shadow_learner, verdict_writer, version_upgrade
from recommender.learning.checkpoints import forked_writer, state_writer
from recommender.learning.checkpoints.forked_writer import Writing
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.folded_rows import FoldedRows
from recommender.learning.refold import LogIncomplete, as_decided, encode, refold
from recommender.log import event_log, id_secret, origin
from recommender.log.event_log import LogSlice, Position
from recommender.log.origin import Origin
from recommender.models import STATE_COLUMNS, Checkpoint, Decision, Learner, Step
from recommender.process_state import clock, remembered
from recommender.publishing.publisher import Publisher

DECISIONS_A_STEP = 100
CHECKPOINT_SHARE = 0.05  # of the time a checkpoint is being written, at most
RETRY_CHECKPOINT_S = 10.0  # after one that failed
PUBLISH_SHARE = 0.25  # of the time goes into publishing after steps that are not full, at most
logger = logging.getLogger(__name__)


class LearnerMoved(Exception):
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


_in_memory: dict[int, WarmPipeline] = {}  # by shard


def learn(shard: int, *, for_s: float = 5.0) -> int:
    """Learn a shard's waiting events, and return their number.

    0. Do nothing if a newer version learns the shard.
    1. Compare the warm Pipeline with the Learner row. Restore it where they differ. Take over from an older version.
    2. Take steps until one is not full, unless frozen. Two small steps are PUBLISH_EVERY_S apart.
    3. Publish. Begin a checkpoint when one is due, and finish it when its pieces are written.

    It starts no new step after `for_s` seconds and holds no lock between steps. It raises the errors of the database,
    and StoreUnavailable where a restore needs an object store that does not answer. After an error in a step the next
    call restores the Pipeline. After any other error the warm Pipeline is still sound, and the next call goes on from
    it. A checkpoint that fails raises nothing.
    """
    warm = _in_memory.get(shard)
    if warm and clock() < warm.step_due_at:
        return 0
    database_clock.learn()
    learner = get_learner(shard)
    if version_upgrade.is_newer(learner):
        _drop(shard)
        return 0
    if warm is None or warm.stand != (learner.step, learner.checkpoint_id, learner.n_reverts, origin.current()):
        _drop(shard)
        warm, learner = take_over(learner)
        warm.pipeline.ranker.prepare()
        warm.shadow = shadow_learner.begin(warm.pipeline, learner)
        _in_memory[shard] = warm
    n_learned, publish_at = 0, -inf
    decided = list(Decision.objects.filter(shard=shard, taken_in=None).order_by("id")[:DECISIONS_A_STEP])
    stop_at = clock() + for_s
    is_draining = True
    while is_draining:
        began_at, read_at = clock(), database_clock.unix_s()
        as_of = warm.pipeline.stream_ms / 1000
        is_draining = False
        if learner.state == Learner.State.LEARNING:
            events = read_next(warm, settings.STEP_EVENTS)
            if events or decided:
                _in_memory.pop(shard, None)  # ahead of the database until the step is committed
                try:
                    learner = take_step(warm, learner, events, decided)
                except BaseException:
                    warm.give_up()
                    raise
                _in_memory[shard] = warm
                n_learned += len(events)
                decided = []
            as_of = read_at if events.is_end else warm.pipeline.stream_ms / 1000
            is_draining = len(events) == settings.STEP_EVENTS and began_at < stop_at
        if not is_draining or began_at >= publish_at:
            publish_began_at = clock()
            warm.publisher.publish(warm.pipeline, learner, as_of, warm.shadow)
            publish_took_s = clock() - publish_began_at
            publish_at = began_at + max(settings.PUBLISH_EVERY_S, publish_took_s / PUBLISH_SHARE)
        if warm.snapshot:
            finish_checkpoint(warm, learner)
        elif warm.step > warm.checkpoint_step and began_at >= warm.checkpoint_due_at:
            begin_checkpoint(warm, learner)
        warm.step_due_at = publish_at - 0.1 * settings.PUBLISH_EVERY_S  # beat may be a little early
    return n_learned


def take_over(learner: Learner) -> tuple[WarmPipeline, Learner]:
    """Restore a shard's Pipeline, and record an upgrade if one is due.

    Returns the Pipeline and the Learner row as they are now. Raises LogIncomplete, LearnerMoved.
    """
    warm = restore(learner)
    if warm.refolded is not None:
        try:
            learner = version_upgrade.complete(learner, warm.pipeline, warm.loaded, warm.refolded)
        except version_upgrade.UpgradeLost as error:
            raise LearnerMoved(str(error)) from error
        warm.loaded = warm.refolded = None
        warm.checkpoint_id, warm.checkpoint_step = learner.checkpoint_id, learner.step
    return warm, learner


def claim_all() -> bool:
    """Bring every shard to this version, and return False if one is newer.

    Jobs that change histories call this first. A shard whose log is incomplete is left as it is, because a revert may
    be the way out. It also returns False if another process moves a shard meanwhile.
    """
    learners = list(Learner.objects.select_related("checkpoint").order_by("shard"))
    if sum(version_upgrade.is_newer(each) for each in learners):  # not any(): each is logged
        return False
    for each in learners:
        if each.fold_version < state_versions.FOLD_VERSION:
            try:
                take_over(each)
            except LearnerMoved as error:
                logger.info("%s. The job waits", error)
                return False
            except LogIncomplete as error:
                logger.error("shard %d cannot be brought to this version: %s", each.shard, error)
    return True


def in_memory(shard: int) -> WarmPipeline | None:
    """Return the warm Pipeline that this process has of a shard, for inspection."""
    return _in_memory.get(shard)


@remembered
def forget() -> None:
    """Drop the warm Pipelines of this process, and end checkpoints under way.

    The next wake restores them.
    """
    for shard in list(_in_memory):
        _drop(shard)


def _drop(shard: int) -> None:
    if warm := _in_memory.pop(shard, None):
        warm.give_up()


def get_learner(shard: int) -> Learner:
    """Return the row of a shard's learner.

    The first call makes the row, with a checkpoint of an empty Pipeline. Raises IdSecretWrong and StoreUnavailable.
    """
    id_secret.require()
    learner = Learner.objects.filter(shard=shard).first()
    if learner:
        return learner
    columns = state_writer.keep(Pipeline(configured()))  # an object store may be slow: before the row is locked
    with transaction.atomic():
        learner, is_new = Learner.objects.get_or_create(shard=shard)
        if is_new:
            learner.checkpoint = state_writer.name_checkpoint(
                columns, shard, 0, Position(), history.beginning(), None
            )
            learner.save(update_fields=["checkpoint"])
    return learner


def configured() -> Config:
    """Return the configuration of a new Pipeline: the settings, and a secret.

    The secret keys its hashes.
    """
    return Config(
        half_lives_s=tuple(settings.HALF_LIVES_S),
        horizon_s=settings.HORIZON_S,
        actor_budget=settings.ACTOR_BUDGET,
        lateness_s=settings.LATENESS_S,
        canary_share=settings.CANARY_SHARE,
        affinity=AffinityConfig(half_life_s=settings.LINK_HALF_LIFE_S),
        personal_share=settings.PERSONAL_SHARE,
        trust=TrustConfig(floor=settings.TRUST_FLOOR),
        screen=ScreenConfig(is_on=settings.SCREEN),
        secret=ids.secret(),
    )


def restore(learner: Learner) -> WarmPipeline:
    """Return the Pipeline at the Learner's position.

    It loads the newest sound checkpoint and folds the steps recorded after it. Without a sound checkpoint it folds
    the whole log again. Nothing is written, also if another version of the fold left the shard behind (`take_over`).
    Raises LogIncomplete if the log or the steps no longer reach back far enough. Raises StateNewer for a newer
    version's state. Raises StoreUnavailable if the object store that has the checkpoint does not answer. An older
    checkpoint or the log would cost minutes or not be enough, and the store will be back.
    """
    began_at, server = time.monotonic(), origin.current()
    pipeline, checkpoint = None, learner.checkpoint
    while checkpoint and pipeline is None:
        try:
            pipeline = load_pipeline(checkpoint)
        except StateNewer:  # an older state would not do
            raise
        except ValueError as error:  # damaged, or it does not fit
            logger.error("%s cannot be read, an older one is used: %s", checkpoint, error)
            checkpoint = _before(checkpoint, learner.recipe)
    if pipeline is None:
        logger.error("shard %d has no sound checkpoint, its whole log is folded again", learner.shard)
        pipeline = Pipeline(configured())
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


def write_checkpoint(warm: WarmPipeline, learner: Learner) -> Checkpoint:
    """Store the warm Pipeline as the Learner's active checkpoint now, and wait for it.

    Raises LearnerMoved if the Learner has another checkpoint by now, CheckpointFailed, StoreUnavailable, and the
    errors of the database.
    """
    snapshot = Snapshot(warm.step, warm.position, clock(), None)
    return _install_checkpoint(warm, learner, snapshot, state_writer.keep(warm.pipeline))


def begin_checkpoint(warm: WarmPipeline, learner: Learner) -> None:
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
        finish_checkpoint(warm, learner)


def finish_checkpoint(warm: WarmPipeline, learner: Learner, *, wait: bool = False) -> None:
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
        _install_checkpoint(warm, learner, snapshot, columns)
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


def _install_checkpoint(
    warm: WarmPipeline, learner: Learner, snapshot: Snapshot, columns: dict[str, Any]
) -> Checkpoint:
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


def rebuild(learner: Learner) -> Checkpoint:
    """Fold the whole log again under the present settings, and make that the state.

    Learning goes on meanwhile, and the next wake folds in the steps it took. Raises LogIncomplete if the log no
    longer reaches back to the first step, and LearnerMoved if the shard belongs to a newer version.
    """
    if version_upgrade.is_newer(learner):
        raise LearnerMoved(f"a newer version learns shard {learner.shard}: rebuild it with that version")
    pipeline = Pipeline(configured())
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


def read_next(warm: WarmPipeline, limit: int) -> LogSlice:
    """Return the next events of the log after a Pipeline's position, at most `limit`."""
    return event_log.read(
        after=warm.position,
        since_ms=warm.pipeline.stream_ms,
        limit=limit,
        shard=warm.publisher.shard,
        shards=settings.SHARDS,
    )


def take_step(warm: WarmPipeline, learner: Learner, events: LogSlice, decided: Sequence[Decision] = ()) -> Learner:
    """Carry out decisions and learn a slice of the log, in one transaction.

    Raises LearnerMoved if another learner or an operator was first.
    """
    began_at = time.perf_counter()
    first_ordinal = warm.pipeline.n_events
    batch = encode(warm.pipeline, events)
    result = warm.pipeline.step(batch, as_decided(warm.pipeline, decided))
    end = events.end if events else warm.position
    moved = {
        "step": warm.step + 1,
        "xid": end.xid,
        "seq": end.seq,
        "stream_ms": warm.pipeline.stream_ms,
    }
    counts = {"n_events": result.n_events} | verdict_writer.counts(result)
    with transaction.atomic():
        is_first = Learner.objects.filter(
            shard=learner.shard,
            step=warm.step,
            seq=warm.position.seq,
            n_reverts=learner.n_reverts,
            fold_version=state_versions.FOLD_VERSION,
            state=Learner.State.LEARNING,
        ).update(**moved, **{name: F(name) + n for name, n in counts.items()}, stepped_at=Now())
        if not is_first:
            raise LearnerMoved(f"another process moved shard {learner.shard} on from step {warm.step}")
        step = Step.objects.create(
            shard=learner.shard,
            number=warm.step + 1,
            from_xid=warm.position.xid,
            from_seq=warm.position.seq,
            to_xid=end.xid,
            to_seq=end.seq,
            first_ordinal=first_ordinal,
            n_admitted=result.n_admitted,
            **counts,
            **quality_log.figures(result),
            stream_ms=warm.pipeline.stream_ms,
            duration_ms=1000 * (time.perf_counter() - began_at),
        )
        verdict_writer.store(
            shard=learner.shard, first_ordinal=first_ordinal, step=warm.step + 1, events=events, result=result
        )
        if decided:
            waiting = Decision.objects.filter(id__in=[each.pk for each in decided], taken_in=None)
            if waiting.update(taken_in=warm.step + 1) != len(decided):
                raise LearnerMoved(
                    f"a decision was withdrawn while step {warm.step + 1} of shard {learner.shard} carried it out"
                )
            verdict_writer.decide(shard=learner.shard, step=warm.step + 1, decided=decided)
        is_stopped = quality_log.after_step(learner, step, result, warm.pipeline)
    warm.shadow = shadow_learner.learn(warm.shadow, batch)
    warm.step, warm.position = warm.step + 1, end
    for name, value in moved.items():
        setattr(learner, name, value)
    if is_stopped:
        learner.refresh_from_db(fields=["state", "frozen_at"])
    return learner
