"""The Celery app with its queues and its schedule.

Tasks carry no events. They only wake a worker, which then reads the log. Each shard has its own queue, so that one
worker process owns a shard and keeps its Pipeline warm. The queue `maintenance` takes all other tasks. A wake has no
time at which it expires, because the machines' clocks differ (`recommender.wake_workers`).
"""

import os
import sys

from celery import Celery
from celery.beat import Service
from celery.signals import beat_init, worker_init
from django.conf import settings
from kombu import Exchange, Queue

from config import extras
from recommender.connections import database_sessions

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

LEARN = [f"learn-{shard}" for shard in range(settings.SHARDS)]

DELIVER_EVERY_S = 3.0
GATHER_EVERY_S = 2.0
FOLLOW_UP_EVERY_S = 1.0
CHORE_EVERY_S = 30.0

app = Celery("groundswell", broker=settings.BROKER["broker_url"], set_as_current=True)
app.conf.update(
    task_ignore_result=True,
    task_default_queue="maintenance",
    task_default_exchange="groundswell",
    task_queues=[Queue(name, Exchange("groundswell"), name) for name in ("maintenance", *LEARN)],
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=2,
    broker_use_ssl=settings.BROKER["broker_use_ssl"],
    broker_transport_options={
        "socket_timeout": 10,
        "socket_connect_timeout": 2,
        **settings.BROKER["broker_transport_options"],
    },
    beat_scheduler="recommender.upkeep.beat_scheduler:SteadyScheduler",
    beat_max_loop_interval=max(0.05, settings.WAKE_EVERY_S),
    beat_schedule={
        **{
            name: {
                "task": "recommender.learn",
                "schedule": settings.WAKE_EVERY_S,
                "args": (shard,),
                "options": {"queue": name},
            }
            for shard, name in enumerate(LEARN)
        },
        # The shard's own worker follows up, because a revert never blocks it.
        **{
            f"follow-up-{shard}": {
                "task": "monitoring.follow_up",
                "schedule": FOLLOW_UP_EVERY_S,
                "args": (shard,),
                "options": {"queue": name},
            }
            for shard, name in enumerate(LEARN)
        },
        # These two pick up work of a worker that was killed. New requests wake a worker at once.
        "revert": {"task": "recommender.revert", "schedule": 10.0},
        "erase": {"task": "recommender.erase", "schedule": 10.0},
        "deliver": {"task": "monitoring.deliver", "schedule": DELIVER_EVERY_S},
        "gather": {"task": "monitoring.gather", "schedule": GATHER_EVERY_S},
        # The database's clock decides whether these are due (recommender.upkeep.chores).
        **{
            name: {"task": task, "schedule": CHORE_EVERY_S}
            for name, task in {
                "keep-house": "recommender.keep_house",
                "keep-monitoring-house": "monitoring.keep_house",
                "warn": "monitoring.warn",
                **({"retrain": "monitoring.retrain"} if settings.RETRAIN_EVERY_H else {}),
            }.items()
        },
    },
)
app.autodiscover_tasks(["recommender", "monitoring"])


@worker_init.connect
def _require_learn(**_: object) -> None:
    """End a worker that could not learn.

    Without PyOD its screen would hold every event. Without boto3 it could not read its checkpoint. Without a session
    its locks would not hold.
    """
    try:
        extras.require("learn", *(["s3"] if settings.CHECKPOINT_STORE else []), by="A worker")
    except extras.MissingExtra as error:
        sys.exit(str(error))
    database_sessions.end_if_unsuitable()


@worker_init.connect
@beat_init.connect
def _compare_id_secret(**_: object) -> None:
    from recommender.log import id_secret  # noqa: PLC0415 - it needs the models, and these are loaded by now

    id_secret.check_at_start()


@beat_init.connect
def _end_at_signals(sender: Service, **_: object) -> None:
    from recommender.upkeep import beat_scheduler  # noqa: PLC0415 - it imports recommender's process state

    beat_scheduler.end_at_signals(sender)
