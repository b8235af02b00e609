"""Wake the workers when there is work: learning, an erasure, a revert.

A wake carries no event. A lost wake costs only a moment, because beat wakes the workers too.

A wake has no time at which it expires. Such a time would be one machine's, read by the clock of another, and a worker
whose clock is ahead would drop every wake. Instead a queue holds about MAX_WAITING wakes at most: while so many wait,
the worker will run in any case, so another is not sent. A worker that was stopped finds these few and no more.

A worker that is slower than its FREQUENT tasks would always have a full queue of them, and chores would get a place
only by luck. So these see room only while fewer than FREQUENT_WAITING wakes wait. The other places are for the rest.
"""

import logging
from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any

from celery import current_app
from django.conf import settings

from recommender.process_state import Clock, clock, remembered

BROKER_RETRY_EVERY_S = 5.0
FREQUENT = frozenset({"recommender.learn", "monitoring.gather", "monitoring.deliver"})  # these could fill a queue
FREQUENT_WAITING = 8  # wakes in a queue from which on no frequent task is added
MAX_WAITING = 32  # the places left for the rest are filled in a minute, in which beat asks for each of them twice
logger = logging.getLogger(__name__)


def has_room(producer: Any, queue: str, task: str) -> bool:
    """Return whether so few wakes wait in a queue that another of this task has room.

    One round trip to the broker. Raises the errors of the broker's client.

    producer: a kombu Producer. task: the name of the task.
    """
    try:
        waiting = producer.channel.queue_declare(queue, passive=True).message_count
    except producer.connection.channel_errors:  # there is no such queue before its first wake, or while it is empty
        return True
    return bool(waiting < (FREQUENT_WAITING if task in FREQUENT else MAX_WAITING))


def send_task(name: str, *args: int, queue: str) -> bool:
    """Ask a worker to run a task, and return False if the broker does not answer.

    Nothing is sent to a queue that is full of wakes. A failure is also logged.
    """
    try:
        with current_app.producer_or_acquire() as producer:
            if has_room(producer, queue, name):
                current_app.send_task(
                    name, args=args, queue=queue, retry=False, ignore_result=True, producer=producer
                )
    except Exception as error:  # the broker's client can raise anything: the events are safe in the log
        logger.warning("the broker does not answer (%s), beat will wake the worker", error)
        return False
    return True


class Waker:
    """Wake learners, each shard at most once in PUBLISH_EVERY_S.

    A broker that is down takes at most a tenth of the caller's time.
    """

    def __init__(self, now: Clock = clock, send: Callable[..., bool] = send_task) -> None:
        self.now, self._send = now, send
        self._next_at: dict[int, float] = {}
        self._broker_at = -inf

    def wake(self, shard: int) -> None:
        """Send the task `recommender.learn`.

        If the broker is down, no wake is sent for ten times as long as the attempt took, and for BROKER_RETRY_EVERY_S
        at least. Beat wakes the learner meanwhile.
        """
        now = self.now()
        if now < max(self._broker_at, self._next_at.get(shard, -inf)):
            return
        self._next_at[shard] = now + settings.PUBLISH_EVERY_S
        if not self._send("recommender.learn", shard, queue=f"learn-{shard}"):
            failed_at = self.now()
            self._broker_at = failed_at + max(BROKER_RETRY_EVERY_S, 10 * (failed_at - now))


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
