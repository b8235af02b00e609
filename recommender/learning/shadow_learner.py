"""The keeper of a shard's shadow model (`core.shadow_trend`): made anew from the log, kept beside the Pipeline,
published.

    restore ──> the last half-lives of recorded steps ──> Shadow
    a step committed ──> Shadow.learn ──> the board "shadow" of the view: for the console and keys that may do all

It must never cost the learner its step: whatever breaks here is logged, and the shadow is gone until the next
restore. What it is made anew of is bounded too, so that a restart is not kept waiting: on a busy site it begins with
the last WARM_EVENTS, and is whole after the half-lives it lacks.
"""

import logging

from django.conf import settings
from django.db.models import F, Sum, Window

from recommender.core.events import EventBatch
from recommender.core.pipeline import Pipeline
from recommender.core.shadow_trend import Shadow
from recommender.learning.refold import GROUP_EVENTS, encode
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Learner, Step

WARM_EVENTS = 500_000

logger = logging.getLogger(__name__)


def begin(pipeline: Pipeline, learner: Learner) -> Shadow | None:
    """A shard's shadow as of the Learner's position; None where SHADOW is off."""
    if not settings.SHADOW:
        return None
    try:
        return _begin(pipeline, learner)
    except Exception:
        logger.exception("shard %d goes on without a shadow", learner.shard)
        return None


def learn(shadow: Shadow | None, batch: EventBatch) -> Shadow | None:
    """Let it learn a batch; None where it is off, or broke."""
    if shadow is None:
        return None
    try:
        shadow.learn(batch)
    except Exception:
        logger.exception("the shadow broke; the learner goes on without it")
        return None
    return shadow


def _begin(pipeline: Pipeline, learner: Learner) -> Shadow:
    shadow = Shadow(pipeline.config)
    since_ms = pipeline.stream_ms - shadow.memory_ms
    recent = Step.objects.filter(shard=learner.shard, number__lte=learner.step, stream_ms__gt=since_ms)
    counted = recent.annotate(n_since=Window(Sum("n_events"), order_by=F("number").desc()))
    first = counted.filter(n_since__lte=WARM_EVENTS).order_by("number").first()
    if first is None:
        return shadow
    after, end = Position(first.from_xid, first.from_seq), Position(learner.xid, learner.seq)
    while after < end:
        events = event_log.read(
            after=after,
            until=end,
            since_ms=since_ms,
            limit=GROUP_EVENTS,
            shard=learner.shard,
            shards=settings.SHARDS,
        )
        if not events:
            break
        shadow.learn(encode(pipeline, events))
        after = events.end
    return shadow
