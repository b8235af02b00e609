"""Whether this server can do its work, part by part.

`check` is asked by monitors, perhaps often and by many, so its answer is kept for a second. Down means: some part of
the promise "an event is on the list a second later" is broken. Serving goes on without any of them but the view's
last copy; a load balancer that should send readers here as long as there is a list asks /health/live instead.
"""

import time
from collections.abc import Callable
from typing import Any, cast

from celery import current_app
from django.db import connection
from redis import RedisError

from recommender.database_outage import database
from recommender.errors import Unavailable
from recommender.learning import learner_state
from recommender.process_state import clock, remembered
from recommender.publishing import published_boards

KEPT_S = 1.0
STALE_S = 30.0  # a learner this far behind, or silent for so long, is not learning
BROKER_TIMEOUT_S = 1.0

_kept: tuple[float, dict[str, str]] = (0.0, {})


def check() -> dict[str, str]:
    """`ok` or what is wrong, of each part."""
    global _kept  # noqa: PLW0603 (the one answer of this process)
    asked_at, answer = _kept
    if not answer or clock() - asked_at > KEPT_S:
        answer = {name: look() for name, look in CHECKS.items()}
        _kept = (clock(), answer)
    return answer


@remembered
def forget() -> None:
    """Ask anew next time."""
    global _kept  # noqa: PLW0603
    _kept = (0.0, {})


def _database() -> str:
    try:
        with database(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Unavailable:
        return "PostgreSQL does not answer"
    return "ok"


def _view() -> str:
    try:
        published_boards.connect().ping()
    except RedisError:
        return "the view store does not answer"
    return "ok"


def _broker() -> str:
    try:
        with current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT_S) as broker:
            # celery-types knows whole seconds only
            broker.ensure_connection(max_retries=0, timeout=cast(Any, BROKER_TIMEOUT_S))
    except Exception:  # every broker's client raises its own
        return "the broker does not answer"
    return "ok"


def _learner() -> str:
    try:
        with database():
            learners = learner_state.list_learner_states()
    except Unavailable:
        return "unknown without PostgreSQL"
    if not learners:
        return "has never run"
    behind = max((learner.lag_s for learner in learners if not learner.is_frozen), default=0.0)
    if behind > STALE_S:
        return f"{behind:.0f} s behind"
    head = published_boards.reader().head()
    age_s = time.time() - head.as_of if head is not None else float("inf")
    if age_s > STALE_S and not any(learner.is_frozen for learner in learners):
        return "publishes nothing" if head is None else f"published last {age_s:.0f} s ago"
    return "ok"


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "view": _view,
    "broker": _broker,
    "learner": _learner,
}
