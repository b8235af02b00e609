"""Tell the workers that there is work: a learner, the erasures, the reverts.

A wake carries no event. One that is lost costs a moment, because beat wakes too.
"""

import logging
from collections.abc import Callable
from functools import cache
from math import inf

from celery import current_app
from django.conf import settings

from recommender.process_state import Clock, clock, remembered

BROKER_RETRY_EVERY_S = 5.0
logger = logging.getLogger(__name__)


def send_task(name: str, *args: int, queue: str, expires_s: float | None = None) -> bool:
    """Ask a worker for a task; False, and a line in the log, where the broker does not answer."""
    try:
        current_app.send_task(name, args=args, queue=queue, expires=expires_s, retry=False, ignore_result=True)
    except Exception as error:  # whatever the broker's client raises: the events are safe in the log
        logger.warning("the broker does not answer (%s); beat will wake the worker", error)
        return False
    return True


class Waker:
    """Tells learners that there is work: at most once in PUBLISH_EVERY_S a shard, never in the way of the caller."""

    def __init__(self, now: Clock = clock, send: Callable[..., bool] = send_task) -> None:
        self.now, self._send = now, send
        self._next_at: dict[int, float] = {}

    def wake(self, shard: int) -> None:
        """Send the task `recommender.learn`; a broker that is down is left alone for a while (beat wakes too)."""
        now = self.now()
        if now < self._next_at.get(shard, -inf):
            return
        self._next_at[shard] = now + settings.PUBLISH_EVERY_S
        if not self._send("recommender.learn", shard, queue=f"learn-{shard}", expires_s=1):
            self._next_at[shard] = now + BROKER_RETRY_EVERY_S


@cache
def _waker() -> Waker:
    return Waker()


remembered(_waker.cache_clear)


def wake(shard: int) -> None:
    """Tell a shard's learner that there is work."""
    _waker().wake(shard)


def wake_erasures() -> None:
    """Tell the worker that keeps house that an actor is to be erased."""
    send_task("recommender.erase", queue="maintenance")


def wake_reverts() -> None:
    """Tell the worker that keeps house that a revert was asked for."""
    send_task("recommender.revert", queue="maintenance")
