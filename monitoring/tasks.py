"""Celery tasks of the people's side: nothing in, one call each, harmless when run twice."""

import logging

from celery import shared_task
from django.db import Error as DatabaseError
from django.db import connection

from monitoring import notify

logger = logging.getLogger(__name__)


@shared_task(name="monitoring.deliver")
def deliver_notifications() -> None:
    """Send the messages that are due. The next tick tries again whatever happens here."""
    try:
        notify.deliver()
    except DatabaseError as error:
        logger.warning("the database does not answer, messages wait: %s", str(error).strip())
        connection.close()


@shared_task(name="monitoring.keep_house")
def keep_house() -> None:
    """Forget old messages. Decisions are kept for ever."""
    notify.prune()
