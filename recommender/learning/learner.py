"""The learner: the only writer of a shard's Pipeline.

    learn(shard):  Learner row ──> warm Pipeline, or one restored (`warm_pipeline`)
                   event_log.read ──> Pipeline.step ──> one transaction: Learner moved on (compare-and-set), a Step
                   ──> publish, `active_checkpoint` when one is due ──> again, until the log has no full step left

    a Learner row of another version of the fold ──> version_upgrade: take it over, or do nothing

Tasks wake the learner, and it keeps the Pipeline warm between them. Memory may be ahead of the database only inside
`take_step`. If anything fails there, the warm Pipeline is dropped and the next wake restores it. Two learners of one
shard do no harm: of two steps from one position only one is committed, and the loser drops its Pipeline. A step
records the range of the log it took, because the visible events depend on the moment of reading. Every refold takes
the same ranges.
"""

import logging
import time
from collections.abc import Sequence
from math import inf

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from recommender import database_clock, history
from recommender.core import state_versions
from recommender.core.pipeline import Pipeline
from recommender.learning import (
    active_checkpoint,
    pipeline_settings,
    quality_log,
    shadow_learner,
    verdict_writer,
    version_upgrade,
)
from recommender.learning.checkpoints import state_writer
from recommender.learning.refold import LogIncomplete, as_decided, encode
from recommender.learning.warm_pipeline import LearnerMoved, WarmPipeline, take_over
from recommender.log import event_log, id_secret, origin
from recommender.log.event_log import LogSlice, Position
from recommender.models import Decision, Learner, Step
from recommender.process_state import clock, remembered

DECISIONS_A_STEP = 100
PUBLISH_SHARE = 0.25  # of the time goes into publishing after steps that are not full, at most
logger = logging.getLogger(__name__)
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
            active_checkpoint.finish(warm, learner)
        elif warm.step > warm.checkpoint_step and began_at >= warm.checkpoint_due_at:
            active_checkpoint.begin(warm, learner)
        warm.step_due_at = publish_at - 0.1 * settings.PUBLISH_EVERY_S  # beat may be a little early
    return n_learned


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
    empty = Pipeline(pipeline_settings.configured())
    columns = state_writer.keep(empty)  # an object store may be slow: before the row is locked
    with transaction.atomic():
        learner, is_new = Learner.objects.get_or_create(shard=shard)
        if is_new:
            learner.checkpoint = state_writer.name_checkpoint(
                columns, shard, 0, Position(), history.beginning(), None
            )
            learner.save(update_fields=["checkpoint"])
    return learner
