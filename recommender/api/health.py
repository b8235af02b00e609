"""The health of this server, part by part.

Monitors may call `check` often, so its answer is kept for a second. A part is down if events can no longer get onto a
list within a second. Lists are still served then, from the last copy of the view. A load balancer should send readers
here as long as there is a list, so let it ask /health/live instead.

Warnings are about limits that come near and jobs that failed (`recommender.upkeep.server_warnings`), and about
checkpoints that cannot be written. They take no part down. Learning goes on without a new checkpoint, and only a
restart takes longer.
"""

from collections.abc import Callable
from typing import Any, cast

from celery import current_app
from django.db import connection
from redis import RedisError

from recommender import database_clock
from recommender.database_outage import database
from recommender.errors import Unavailable
from recommender.learning import learner_state
from recommender.process_state import clock, remembered
from recommender.publishing import published_boards
from recommender.upkeep import server_warnings

KEPT_S = 1.0
STALE_S = 30.0  # a learner that is this far behind, or silent for so long, is not learning
BROKER_TIMEOUT_S = 1.0

_kept: tuple[float, dict[str, str]] = (0.0, {})


def check() -> dict[str, str]:
    """Return `ok` or the problem, for each part."""
    global _kept  # noqa: PLW0603 (the one answer of this process)
    asked_at, answer = _kept
    if not answer or clock() - asked_at > KEPT_S:
        answer = {name: look() for name, look in CHECKS.items()}
        _kept = (clock(), answer)
    return answer


@remembered
def forget() -> None:
    """Check again next time."""
    global _kept  # noqa: PLW0603
    _kept = (0.0, {})


def list_warnings() -> list[str]:
    """Return the warnings about the servers, urgent ones first.

    There are none while the database is away.
    """
    try:
        with database():
            told = [each.text for each in server_warnings.list_warnings()]
            return [*told, *map(_of_checkpoint, learner_state.list_checkpoint_failures())]
    except Unavailable:
        return []


def _of_checkpoint(shard: int) -> str:
    return (
        f"No checkpoint of shard {shard} can be written. Learning goes on, but a restart will take longer."
        " `checkpoint list` and the log have the cause."
    )


def _cause() -> str:
    """Name the transaction that holds up learning, if there is one."""
    try:
        with database():
            oldest = server_warnings.get_figures().transaction
    except Unavailable:
        return ""
    return f", held up by {oldest}" if oldest and oldest.open_s >= server_warnings.HELD_UP_S else ""


def _database() -> str:
    try:
        with database(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            database_clock.learn()
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
            # celery-types allows only whole seconds
            broker.ensure_connection(max_retries=0, timeout=cast(Any, BROKER_TIMEOUT_S))
    except Exception:  # each broker's client raises its own errors
        return "the broker does not answer"
    return "ok"


def _learner() -> str:
    try:
        with database():
            learners = learner_state.list_learner_states()
    except Unavailable:
        return "unknown while PostgreSQL does not answer"
    if not learners:
        return "has never run"
    behind = max((learner.lag_s for learner in learners if not learner.is_frozen), default=0.0)
    note = next((f": {learner.version_note}" for learner in learners if learner.version_note), "")
    if behind > STALE_S:
        return f"{behind:.0f} s behind{note}{_cause()}"
    head = published_boards.reader().head()
    age_s = database_clock.unix_s() - head.as_of if head is not None else float("inf")
    if age_s > STALE_S and not any(learner.is_frozen for learner in learners):
        return ("has published nothing" if head is None else f"last published {age_s:.0f} s ago") + note
    return "ok"


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "view": _view,
    "broker": _broker,
    "learner": _learner,
}
