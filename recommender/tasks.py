"""Celery tasks: each takes only ids, makes one call, and may run twice."""

import logging
import time

from celery import shared_task
from django.db import Error as DatabaseError
from django.db import connection

from recommender import database_outage, housekeeping
from recommender.control import erasures, reverts
from recommender.learning import learner

RETRY_S = 1
BACK_OFF_S = 10

logger = logging.getLogger(__name__)


@shared_task(name="recommender.learn")
def learn(shard: int) -> None:
    """Learn the events in the log of a shard.

    If anything fails here, the next wake tries again.
    """
    try:
        learner.learn(shard)
    except learner.LearnerMoved as error:
        logger.info("%s. This worker starts from there", error)
    except DatabaseError as error:
        logger.warning("the database does not answer, learning waits: %s", str(error).strip())
        connection.close()
        time.sleep(RETRY_S)
    except Exception:  # a wake comes four times a second: one traceback in BACK_OFF_S is enough
        logger.exception("shard %d cannot learn", shard)
        time.sleep(BACK_OFF_S)


@shared_task(name="recommender.revert")
def revert() -> None:
    """Carry out the requested reverts that no other worker is busy with."""
    with database_outage.waits(logger, "the revert starts again later"):
        while reverts.run_next():
            pass


@shared_task(name="recommender.erase")
def erase() -> None:
    """Carry out the requested erasures."""
    with database_outage.waits(logger, "the erasure starts again later"):
        while erasures.run_next():
            pass


@shared_task(name="recommender.keep_house")
def keep_house() -> None:
    """Make partitions ahead, drop old ones, thin old checkpoints and figures."""
    housekeeping.keep_house()
