"""What is written down of how good the list is, and who is asked about it: in the transaction of every step.

    StepResult ──figures──> columns of the Step
    Pipeline ──health_figures, every WATCH_EVERY_S──> Watched ──┐
    Learner, Step, StepResult ──────────────────────────────────┴──> AFTER_STEP: may freeze, in the same transaction

Who decides is named by a setting, so that this package knows nothing of the people's side. A monitor must not stop
what it watches: whatever it raises is rolled back to a savepoint and logged, and the step is committed.

Cost a step: the savepoint, 0.1 ms; the figures 0.6 ms with a million pairs, and never more than WATCH_SHARE of the
time.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from math import inf
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.module_loading import import_string

from recommender.core.health_figures import watch
from recommender.core.pipeline import Pipeline
from recommender.core.step_result import StepResult
from recommender.models import Learner, Step, Watched
from recommender.process_state import clock, remembered

WATCH_SHARE = 0.02

Hook = Callable[[Learner, Step, StepResult, Watched | None], bool]
"""The learner's row as it was before the step, the recorded step, what it did, and the figures where they were taken
after it. Returns whether it froze the shard."""

logger = logging.getLogger(__name__)

_due_at: dict[int, float] = {}

# The first of every minute after an hour, of every quarter of an hour after two days.
_THIN = """
DELETE FROM recommender_watched WHERE at < now() - %s * interval '1 second' AND id NOT IN (
    SELECT min(id) FROM recommender_watched WHERE at < now() - %s * interval '1 second'
    GROUP BY shard, floor(extract(epoch FROM at) / %s))
"""
_THINNED = ((3600, 60), (172_800, 900))  # age, one in so many seconds


def figures(result: StepResult) -> dict[str, Any]:
    """What a Step's columns say of the list's quality."""
    return {
        "n_predicted": result.quality.n,
        "n_hits": result.quality.hits,
        "reciprocal_ranks": result.quality.reciprocal_ranks,
        "n_trusted": result.trusted.n,
        "n_trusted_hits": result.trusted.hits,
        "n_canary": result.canary.n,
        "n_canary_hits": result.canary.hits,
        "alarm": int(result.alarm.level),
        "changed_ms": result.alarm.changed_ms if result.alarm.level else None,
    }


def after_step(learner: Learner, step: Step, result: StepResult, pipeline: Pipeline) -> bool:
    """Take the figures where they are due, or there is an alarm, and ask AFTER_STEP. Returns whether it froze."""
    hook = _hook(settings.AFTER_STEP)
    is_due = clock() >= _due_at.get(step.shard, -inf) or bool(result.alarm.level)
    if not (hook or is_due):
        return False
    try:
        with transaction.atomic():
            watched = _watch(step, pipeline) if is_due else None
            return bool(hook and hook(learner, step, result, watched))
    except Exception:
        if connection.connection is None or connection.connection.closed:
            raise
        logger.exception("the monitor failed after step %d of shard %d; learning goes on", step.number, step.shard)
        return False


def _watch(step: Step, pipeline: Pipeline) -> Watched:
    began_at = clock()
    lag_s = max(0.0, time.time() - step.stream_ms / 1000)
    watched, _ = Watched.objects.update_or_create(
        shard=step.shard, step=step.number, defaults=asdict(watch(pipeline)) | {"lag_s": lag_s}
    )
    now = clock()
    _due_at[step.shard] = now + max(settings.WATCH_EVERY_S, (now - began_at) / WATCH_SHARE)
    return watched


def thin() -> None:
    """Keep all figures for an hour, then one a minute, then one a quarter of an hour."""
    with connection.cursor() as cursor:
        for age_s, every_s in _THINNED:
            cursor.execute(_THIN, [age_s, age_s, every_s])


@remembered
def forget() -> None:
    """The figures are due at once, and who is asked is looked up again."""
    _due_at.clear()
    _hook.cache_clear()


@cache
def _hook(path: str) -> Hook | None:
    return import_string(path) if path else None
