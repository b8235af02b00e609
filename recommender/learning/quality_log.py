"""Record the list's quality after each step, and call the AFTER_STEP hook.

    StepResult ──figures──> columns of the Step
    Pipeline ──health_figures, every WATCH_EVERY_S──> Watched ──┐
    Learner, Step, StepResult ──────────────────────────────────┴──> AFTER_STEP: may freeze, in the same transaction

All of it runs in the transaction of the step. A setting names the hook, so this package does not depend on the
package that decides. A monitor must not stop the learner it watches. So any error of the hook is rolled back to a
savepoint and logged, and the step is committed.

A step pays about 0.1 ms for the savepoint. The figures cost 0.6 ms with a million pairs, and never more than
WATCH_SHARE of the time.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from math import inf
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils.module_loading import import_string

from recommender import database_clock
from recommender.core.fold.step_result import StepResult
from recommender.core.health_figures import watch
from recommender.core.pipeline import Pipeline
from recommender.models import Learner, Step, Watched
from recommender.process_state import clock, remembered

WATCH_SHARE = 0.02

Hook = Callable[[Learner, Step, StepResult, Watched | None], bool]
"""A function that is called after each step and returns whether it froze the shard.

It gets the learner's row before the step, the recorded step, the step's result, and the figures if they were taken.
"""

logger = logging.getLogger(__name__)

_due_at: dict[int, float] = {}

# Keeps the first row of every minute after an hour, and of every quarter of an hour after two days.
_THIN = """
DELETE FROM recommender_watched WHERE at < now() - %s * interval '1 second' AND id NOT IN (
    SELECT min(id) FROM recommender_watched WHERE at < now() - %s * interval '1 second'
    GROUP BY shard, floor(extract(epoch FROM at) / %s))
"""
_THINNED = ((3600, 60), (172_800, 900))  # (age, interval) in seconds


def figures(result: StepResult) -> dict[str, Any]:
    """Return the quality of a step, by column of Step."""
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
    """Record the figures if due, call AFTER_STEP, and return whether it froze.

    An alarm makes the figures due.
    """
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
        logger.exception("the monitor failed after step %d of shard %d, learning goes on", step.number, step.shard)
        return False


def _watch(step: Step, pipeline: Pipeline) -> Watched:
    began_at = clock()
    lag_s = max(0.0, database_clock.unix_s() - step.stream_ms / 1000)
    watched, _ = Watched.objects.update_or_create(
        shard=step.shard, step=step.number, defaults=asdict(watch(pipeline)) | {"lag_s": lag_s}
    )
    now = clock()
    _due_at[step.shard] = now + max(settings.WATCH_EVERY_S, (now - began_at) / WATCH_SHARE)
    return watched


def thin() -> None:
    """Thin the figures: all for an hour, then one a minute.

    After two days one in a quarter of an hour is kept.
    """
    with connection.cursor() as cursor:
        for age_s, every_s in _THINNED:
            cursor.execute(_THIN, [age_s, age_s, every_s])


@remembered
def forget() -> None:
    """Make the figures due at once, and look up the hook again."""
    _due_at.clear()
    _hook.cache_clear()


@cache
def _hook(path: str) -> Hook | None:
    return import_string(path) if path else None
