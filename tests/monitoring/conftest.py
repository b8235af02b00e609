"""People and decisions. Olga operates, Rita reviews, Vera only looks, Mal tampers."""

from contextlib import contextmanager

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from monitoring import roles
from monitoring.audit import reviews
from monitoring.models import Review
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint
from tests.help.log_rows import clicks
from tests.recommender.conftest import anonymous, api, fresh_process, lose_store, publish  # noqa: F401 (fixtures)


@pytest.fixture
def olga(db):
    return get_user_model().objects.create_user("olga")


class Accounts(dict):
    """Make an account with each role, and one without: accounts["operator"]."""

    NAMES = {"viewer": "vera", "reviewer": "rita", "operator": "otto", "": "nemo"}

    def __missing__(self, role):
        name = self.NAMES[role]
        self[role] = get_user_model().objects.create_user(name)
        if role:
            roles.assign(username=name, role=role, by="policy")
            self[role] = get_user_model().objects.get(username=name)
        return self[role]


@pytest.fixture
def accounts(db):
    """Return accounts by role, as in accounts["operator"]."""
    return Accounts()


@pytest.fixture
def decide(db):
    """Return a function that records decisions: decide(by="api:shop", note="why")."""

    def decide(**more):
        row = {"by": "policy", "action": Review.Action.FREEZE, "note": "hit rate fell", "subject": {"finding": 7}}
        with transaction.atomic():
            return reviews.record(**row | more)

    return decide


@pytest.fixture
def learned(empty_log):
    """Learn two steps of twenty events, the second all on Mal's item.

    Returns the checkpoint after the first.
    """
    for batch in (clicks(20), clicks(20, start=20, item="mal's")):
        event_log.append(batch)
        learner.learn(0)
    return Checkpoint.objects.order_by("step")[1]  # after the first step


@contextmanager
def unguarded():
    """Open a cursor past the triggers, as an owner of the database has."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE monitoring_review DISABLE TRIGGER append_only")
        yield cursor
        cursor.execute("ALTER TABLE monitoring_review ENABLE ALWAYS TRIGGER append_only")
