"""Wake the workers when there is work: learning, an erasure, a revert.

A wake carries no event. A lost wake costs only a moment, because beat wakes the workers too.
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
    """Ask a worker to run a task, and return False if the broker does not answer.

    A failure is also logged.
    """
    try:
        current_app.send_task(name, args=args, queue=queue, expires=expires_s, retry=False, ignore_result=True)
    except Exception as error:  # the broker's client can raise anything: the events are safe in the log
        logger.warning("the broker does not answer (%s), beat will wake the worker", error)
        return False
    return True


class Waker:
    """Wake learners, each shard at most once in PUBLISH_EVERY_S.

    It never delays the caller.
    """

    def __init__(self, now: Clock = clock, send: Callable[..., bool] = send_task) -> None:
        self.now, self._send = now, send
        self._next_at: dict[int, float] = {}

    def wake(self, shard: int) -> None:
        """Send the task `recommender.learn`.

        If the broker is down, no wake is sent for BROKER_RETRY_EVERY_S. Beat wakes the learner meanwhile.
        """
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
    """Wake a shard's learner."""
    _waker().wake(shard)


def wake_erasures() -> None:
    """Wake the maintenance worker to carry out an erasure."""
    send_task("recommender.erase", queue="maintenance")


def wake_reverts() -> None:
    """Wake the maintenance worker to carry out a revert."""
    send_task("recommender.revert", queue="maintenance")
