"""A chore is run when the database's clock says so, and its failure stays visible."""

import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from recommender.models import Chore
from recommender.upkeep import chores
from recommender.upkeep.chores import RETRY_AFTER
from tests.help.patience import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
LOCK_OF_SWEEP = (chores.LOCK_CLASS, zlib.crc32(b"sweep") - 2**31)


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
    ago(begun_at=RETRY_AFTER, failed_at=RETRY_AFTER)
    assert chores.run("sweep", {"work": work}, every=HOUR)
    assert chores.list_chores()[0].n_failures == 2
    fails[0] = False
    ago(begun_at=RETRY_AFTER, failed_at=RETRY_AFTER)
    assert chores.run("sweep", {"work": work}, every=HOUR)
    (state,) = chores.list_chores()
    assert (state.n_failures, state.error) == (0, "")
    assert state.done_s >= 0


def run_elsewhere(done):
    """Run the chore in another session, and return whether it ran.

    The row says that the chore was begun hours ago.
    """

    def run():
        try:
            ago(begun_at=2 * HOUR)
            return chores.run("sweep", {"note it": lambda: done.append("another worker")}, every=HOUR)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_a_chore_that_lasts_for_hours_is_not_begun_by_another_worker():
    done, began = [], []
    assert chores.run("sweep", {"last for hours": lambda: began.append(run_elsewhere(done))}, every=HOUR)
    assert (began, done) == ([False], [])
    ago(done_at=HOUR)
    assert run_elsewhere(done)


def test_a_worker_that_died_in_a_chore_keeps_no_other_from_it():
    done = []
    died = connection.copy()
    with died.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", LOCK_OF_SWEEP)
    assert not chores.run("sweep", {"note it": lambda: done.append(1)}, every=HOUR)
    died.close()
    wait_for(lambda: chores.run("sweep", {"note it": lambda: done.append(1)}, every=HOUR))
    assert done == [1]


def test_a_chore_whose_connection_broke_goes_on_and_no_other_worker_begins_it():
    done, began = [], []

    def fail():
        connection.close()
        raise OSError("no space left")

    parts = {"break": fail, "go on": lambda: began.append(run_elsewhere(done))}
    assert chores.run("sweep", parts, every=HOUR)
    assert (began, done) == ([False], [])
    assert "no space left" in chores.list_chores()[0].error


def test_a_worker_whose_connection_broke_leaves_the_chore_to_the_one_that_began_it(caplog):
    done = []
    other = connection.copy()

    def lose_the_lock():
        connection.close()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", LOCK_OF_SWEEP)

    try:
        assert chores.run("sweep", {"lose it": lose_the_lock, "note it": lambda: done.append(1)}, every=HOUR)
    finally:
        other.close()
    assert done == []
    assert "another worker runs the chore now" in caplog.text


def test_a_chore_that_failed_after_hours_rests_before_it_is_tried_again():
    def fail_late():
        ago(begun_at=2 * HOUR)
        raise OSError("no space left")

    assert [chores.run("sweep", {"work": fail_late}, every=HOUR) for _ in range(2)] == [True, False]
    ago(failed_at=RETRY_AFTER)
    assert chores.run("sweep", {"work": fail_late}, every=HOUR)


def test_a_chore_may_begin_an_interval_from_now():
    assert not chores.run("trial", {"hold it": lambda: None}, every=HOUR, is_due_at_first=False)
    ago(done_at=HOUR)
    assert chores.run("trial", {"hold it": lambda: None}, every=HOUR, is_due_at_first=False)
