"""Throw into background jobs, and read what an operator would see."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from monitoring import tasks as monitoring_tasks
from monitoring.models import Notification
from recommender.api import health, metrics
from recommender.control import learning_switch
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint, Chore
from recommender.process_state import forget_all
from tests.help.log_rows import clicks
from tests.monitoring.conftest import accounts  # noqa: F401 (a fixture)
from tests.recommender.conftest import *  # noqa: F403 - the API and a fresh learner, as fixtures

MAL, ZOE = "actor-7", "actor-3"
LATER = timedelta(minutes=11)


@pytest.fixture
def told(settings):
    """Return a function that lists the alerts.

    The keeper looks twice first.
    """
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/"
    settings.ALERT_WEBHOOK_SECRET = "a secret of sixteen"

    def told():
        for _ in range(2):
            forget_all()
            monitoring_tasks.warn()
        rows = Notification.objects.filter(kind="warning").order_by("id")
        return [each.payload["facts"]["text"] for each in rows]

    return told


@pytest.fixture
def learned():
    event_log.append(clicks(20))
    learner.learn(0)


@pytest.fixture
def broken():
    """Return a function that lets another one raise: broken(owner, name).

    With `is_hit(*args)` it raises only for some arguments.
    """

    def broken(owner, name, is_hit=lambda *_, **__: True):
        works = getattr(owner, name)

        def fail(*args, **more):
            if is_hit(*args, **more):
                raise KeyError("a bug")
            return works(*args, **more)

        patch = pytest.MonkeyPatch()
        patches.append(patch)
        patch.setattr(owner, name, fail)
        return patch

    patches = []
    yield broken
    for patch in patches:
        patch.undo()


def shown():
    """Return the warnings of /health/ready."""
    forget_all()
    return health.list_warnings()


def pass_time(by=LATER):
    """Move the times of chores into the past."""
    for name in ("begun_at", "done_at", "failed_at"):
        Chore.objects.exclude(**{name: None}).update(**{name: Now() - by})
    forget_all()


def measured():
    forget_all()
    return metrics.render().decode()


def ask_revert():
    return learning_switch.ask_for_revert(
        checkpoint_id=Checkpoint.objects.order_by("step").first().pk, mode="replay", exclusion=None, is_preview=False
    )
