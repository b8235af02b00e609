"""A process knows the database's clock, however wrong its own clock is."""

import pytest
from django.db import connection

from recommender import database_clock
from recommender.database_clock import ASK_EVERY_S, DatabaseClock
from tests.help.held_clock import HeldClock


class Database:
    """A database's clock that counts how often it is asked. An answer takes `trip_s`."""

    def __init__(self, monotonic, ahead_s, trip_s=0.0):
        self.monotonic, self.ahead_s, self.trip_s, self.n_asked = monotonic, ahead_s, trip_s, 0

    def __call__(self):
        self.n_asked += 1
        self.monotonic.forward(self.trip_s / 2)
        said_s = self.monotonic() + self.ahead_s
        self.monotonic.forward(self.trip_s / 2)
        return said_s


class Machine:
    """A machine's own clock, set to any time."""

    def __init__(self, monotonic, set_s):
        self.monotonic, self.set_s = monotonic, set_s

    def __call__(self):
        return self.monotonic() + self.set_s


@pytest.mark.parametrize("wrong_s", [0.0, 0.4, -0.4, 600.0, -600.0, 7200.0, -7200.0, 40 * 86_400.0])
def test_it_is_right_however_wrong_the_machine_is(wrong_s):
    monotonic = HeldClock()
    database = Database(monotonic, ahead_s=1_700_000_000.0, trip_s=0.01)
    known = DatabaseClock(database, monotonic, Machine(monotonic, 1_700_000_000.0 + wrong_s))
    known.learn()
    monotonic.forward(30)
    assert known.unix_s() == pytest.approx(monotonic() + 1_700_000_000.0, abs=1e-6)


def test_the_database_is_asked_once_a_minute_at_most():
    monotonic = HeldClock()
    database = Database(monotonic, ahead_s=10.0)
    known = DatabaseClock(database, monotonic, Machine(monotonic, 0.0))
    for _ in range(100):
        known.learn()
    assert database.n_asked == 1
    monotonic.forward(ASK_EVERY_S)
    known.learn()
    assert database.n_asked == 2


def test_a_machine_that_slept_or_was_set_asks_again():
    monotonic = HeldClock()
    database, machine = Database(monotonic, ahead_s=10.0), Machine(monotonic, 0.0)
    known = DatabaseClock(database, monotonic, machine)
    known.learn()
    database.ahead_s += 3600  # the monotonic clock stopped for an hour
    machine.set_s += 3600
    known.learn()
    assert database.n_asked == 2
    assert known.unix_s() == monotonic() + 3610


def test_reading_it_asks_nothing_and_says_once_that_it_is_unknown(caplog):
    monotonic = HeldClock()
    database = Database(monotonic, ahead_s=10.0)
    known = DatabaseClock(database, monotonic, Machine(monotonic, 5.0))
    assert [known.unix_s() for _ in range(3)] == [monotonic() + 5.0] * 3
    assert database.n_asked == 0
    assert len(caplog.records) == 1


@pytest.mark.django_db
def test_it_agrees_with_the_real_database():
    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0]

    before, now, after = ask(), database_clock.now(), ask()
    assert before - (after - before) <= now <= after + (after - before)
