"""Celery tasks: each takes only ids, makes one call, and may run twice.

An error in one is noted where people see it (`recommender.upkeep.job_failures`). `learn` notes nothing: a shard
that does not learn is down in /health/ready.
"""

import logging
from collections.abc import Callable
from math import inf

from celery import shared_task
from django.db import Error as DatabaseError
from django.db import connection

from recommender import database_outage, housekeeping
from recommender.control import erasures, reverts
from recommender.learning import learner
from recommender.learning.checkpoints import object_store
from recommender.learning.checkpoints.object_store import StoreUnavailable
from recommender.learning.warm_pipeline import LearnerMoved
from recommender.process_state import Clock, clock, remembered
from recommender.upkeep import chores

RETRY_S = 1.0
BACK_OFF_S, LONGEST_BACK_OFF_S = 10.0, 120.0

logger = logging.getLogger(__name__)


class BackOff:
    """The time at which a shard may be tried again after a failure.

    No one sleeps: the worker does its other tasks meanwhile. The wakes that come before that time do nothing.
    """

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self._at: dict[int, float] = {}
        self._next_s: dict[int, float] = {}

    def is_on(self, shard: int) -> bool:
        return self.now() < self._at.get(shard, -inf)

    def wait(self, shard: int, seconds: float) -> None:
        """Try again after so many seconds."""
        self._at[shard] = self.now() + seconds

    def wait_longer(self, shard: int) -> float:
        """Try again after BACK_OFF_S, then in twice the time, and return the seconds."""
        seconds = self._next_s.get(shard, BACK_OFF_S)
        self._next_s[shard] = min(LONGEST_BACK_OFF_S, 2 * seconds)
        self.wait(shard, seconds)
        return seconds

    def end(self, shard: int) -> None:
        """Learning works again."""
        self._next_s.pop(shard, None)

    def forget(self) -> None:
        self._at.clear()
        self._next_s.clear()


back_off = BackOff()
remembered(back_off.forget)


@shared_task(name="recommender.learn")
def learn(shard: int) -> None:
    """Learn the events in the log of a shard.

    If anything fails here, a later wake tries again. An outage is tried again after RETRY_S. Any other failure would
    most likely repeat, so it is tried ever more rarely, and its cause is logged.
    """
    if back_off.is_on(shard):
        return
    try:
        learner.learn(shard)
    except LearnerMoved as error:
        logger.info("%s. This worker starts from there", error)
    except StoreUnavailable as error:
        logger.warning("shard %d cannot be restored, learning waits: %s", shard, error)
        back_off.wait(shard, RETRY_S)
    except DatabaseError as error:
        if database_outage.is_away(error):
            logger.warning("%s: learning waits", database_outage.describe(error))
            back_off.wait(shard, RETRY_S)
        else:
            told = database_outage.describe(error)
            logger.error(
                "shard %d cannot learn, trying again in %.0f s: %s", shard, back_off.wait_longer(shard), told
            )
        connection.close()
    except Exception:
        logger.exception("shard %d cannot learn, trying again in %.0f s", shard, back_off.wait_longer(shard))
    else:
        back_off.end(shard)


@shared_task(name="recommender.revert")
def revert() -> None:
    """Carry out the requested reverts that no other worker is busy with."""
    with database_outage.waits(logger, "the revert starts again later"), object_store.waits(logger, "the revert"):
        chores.run_often("revert", {"carry out reverts": lambda: _run_all(reverts.run_next)})


@shared_task(name="recommender.erase")
def erase() -> None:
    """Carry out the requested erasures."""
    with database_outage.waits(logger, "the erasure starts again later"), object_store.waits(logger, "the erasure"):
        chores.run_often("erase", {"carry out erasures": lambda: _run_all(erasures.run_next)})


def _run_all(run_next: Callable[[], bool]) -> None:
    while run_next():
        pass


@shared_task(name="recommender.keep_house")
def keep_house() -> None:
    """Make partitions ahead, drop old data and thin checkpoints, if that is due."""
    with database_outage.waits(logger, "housekeeping waits"):
        housekeeping.keep_house()
