"""A chore is run when the database's clock says so, and its failure stays visible."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from recommender.models import Chore
from recommender.upkeep import chores
from recommender.upkeep.chores import RETRY_AFTER

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def ago(**columns):
    """Move the chore's times into the past."""
    Chore.objects.update(**{name: Now() - by for name, by in columns.items()})


def test_a_chore_is_done_once_an_interval():
    done = []
    parts = {"note it": lambda: done.append(1)}
    assert [chores.run("sweep", parts, every=HOUR) for _ in range(3)] == [True, False, False]
    ago(begun_at=HOUR, done_at=HOUR)
    assert chores.run("sweep", parts, every=HOUR)
    assert len(done) == 2


def test_a_chore_that_was_missed_for_days_is_done_once():
    parts = {"nothing": lambda: None}
    chores.run("sweep", parts, every=HOUR)
    ago(begun_at=timedelta(days=3), done_at=timedelta(days=3))
    assert [chores.run("sweep", parts, every=HOUR) for _ in range(2)] == [True, False]


def test_a_part_that_fails_keeps_no_other_part_from_running_and_stays_visible(caplog):
    done = []

    def fail():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    parts = {"divide": fail, "note it": lambda: done.append(1)}
    assert chores.run("sweep", parts, every=HOUR)
    assert done == [1]
    (state,) = chores.list_chores()
    assert (state.name, state.done_s, state.n_failures) == ("sweep", None, 1)
    assert "divide" in state.error
    assert "division by zero" in state.error
    assert "sweep: divide failed" in caplog.text


def test_a_chore_that_failed_is_tried_again_before_its_next_turn_and_forgets_the_failure():
    fails = [True]

    def work():
        if fails[0]:
            raise OSError("no space left")

    assert chores.run("sweep", {"work": work}, every=HOUR)
    assert not chores.run("sweep", {"work": work}, every=HOUR)
    ago(begun_at=RETRY_AFTER)
    assert chores.run("sweep", {"work": work}, every=HOUR)
    assert chores.list_chores()[0].n_failures == 2
    fails[0] = False
    ago(begun_at=RETRY_AFTER)
    assert chores.run("sweep", {"work": work}, every=HOUR)
    (state,) = chores.list_chores()
    assert (state.n_failures, state.error) == (0, "")
    assert state.done_s >= 0


def test_a_chore_may_begin_an_interval_from_now():
    assert not chores.run("trial", {"hold it": lambda: None}, every=HOUR, is_due_at_first=False)
    ago(done_at=HOUR)
    assert chores.run("trial", {"hold it": lambda: None}, every=HOUR, is_due_at_first=False)
