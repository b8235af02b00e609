"""Celery tasks of the people's side: nothing or ids in, one call each, harmless when run twice."""

import logging

from celery import shared_task
from django.db import Error as DatabaseError
from django.db import connection

from monitoring import findings, notify, operations, policy

logger = logging.getLogger(__name__)


@shared_task(name="monitoring.deliver")
def deliver_notifications() -> None:
    """Send the messages that are due. The next tick tries again whatever happens here."""
    try:
        notify.deliver()
    except DatabaseError as error:
        logger.warning("the database does not answer, messages wait: %s", str(error).strip())
        connection.close()


@shared_task(name="monitoring.gather")
def gather_findings() -> None:
    """Bring findings up to date with the verdicts, and write down how reverts ended."""
    try:
        findings.gather()
        operations.close_reverts()
    except DatabaseError as error:
        logger.warning("the database does not answer, findings wait: %s", str(error).strip())
        connection.close()


@shared_task(name="monitoring.follow_up")
def follow_up(shard: int) -> None:
    """See after a shard that the policy froze. The next tick tries again whatever happens here."""
    try:
        policy.follow_up(shard)
    except DatabaseError as error:
        logger.warning("the database does not answer, shard %d waits: %s", shard, str(error).strip())
        connection.close()


@shared_task(name="monitoring.keep_house")
def keep_house() -> None:
    """Forget old messages and findings. Decisions are kept for ever."""
    notify.prune()
    findings.prune()
