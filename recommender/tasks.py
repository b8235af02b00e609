"""Celery tasks: nothing but ids in, one call each, harmless when run twice."""

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
    """Learn what the log holds for a shard. The next wake tries again whatever happens here."""
    try:
        learner.learn(shard)
    except learner.LearnerMoved as error:
        logger.info("%s; starting from there", error)
    except DatabaseError as error:
        logger.warning("the database does not answer, learning waits: %s", str(error).strip())
        connection.close()
        time.sleep(RETRY_S)
    except Exception:  # a wake comes four times a second: one traceback in BACK_OFF_S is enough
        logger.exception("shard %d cannot learn", shard)
        time.sleep(BACK_OFF_S)


@shared_task(name="recommender.revert")
def revert() -> None:
    """Carry out the reverts asked for that nobody is at work on."""
    with database_outage.waits(logger, "the revert begins again later"):
        while reverts.run_next():
            pass


@shared_task(name="recommender.erase")
def erase() -> None:
    """Carry out the erasures asked for."""
    with database_outage.waits(logger, "the erasure begins again later"):
        while erasures.run_next():
            pass


@shared_task(name="recommender.keep_house")
def keep_house() -> None:
    """Partitions ahead made, partitions past retention dropped, old checkpoints and steps thinned."""
    housekeeping.keep_house()
