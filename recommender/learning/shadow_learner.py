"""The shadow model of a shard, which learns without a defence.

    restore ──> the last half-lives of recorded steps ──> Shadow
    a step committed ──> Shadow.learn ──> the board "shadow" of the view: for the console and keys that may do all

The shadow (`core.shadow_trend`) is made again from the log, kept next to the Pipeline, and published. It must never
cost the learner a step. So any failure here is logged, and the shadow is gone until the next restore. A restart must
not wait long for it either. On a busy site it begins with only the last WARM_EVENTS, and is complete once the
half-lives it lacks are over.
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
    """Return a shard's shadow as of the Learner's position, or None if SHADOW is off.

    It returns None too if the shadow cannot be made.
    """
    if not settings.SHADOW:
        return None
    try:
        return _begin(pipeline, learner)
    except Exception:
        logger.exception("the shadow of shard %d cannot be made, the learner goes on without it", learner.shard)
        return None


def learn(shadow: Shadow | None, batch: EventBatch) -> Shadow | None:
    """Let the shadow learn a batch, and return None if it is off or broke."""
    if shadow is None:
        return None
    try:
        shadow.learn(batch)
    except Exception:
        logger.exception("the shadow broke, the learner goes on without it")
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
