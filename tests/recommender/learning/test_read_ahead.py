"""A reader works ahead, hands on its errors, and leaves no connection behind."""

import threading

import pytest
from django.db import connection, transaction

from recommender.learning.read_ahead import read_ahead
from recommender.models import Exclusion
from tests.help.patience import PATIENCE_S, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


class Made:
    """A source of numbers that records how many it made."""

    def __init__(self, n, *, error_at=None):
        self.n_made, self.pid, self.thread = 0, None, None
        self._n, self._error_at = n, error_at

    def __call__(self):
        self.thread, self.pid = threading.current_thread(), _pid()
        for number in range(self._n):
            if number == self._error_at:
                raise ValueError("the log is gone")
            self.n_made += 1
            yield number


def _pid():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def _is_connected(pid):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return cursor.fetchone()[0] > 0


def _has_ended(made):
    wait_for(lambda: not _is_connected(made.pid))
    return not made.thread.is_alive()


def test_items_come_in_their_order_from_another_connection():
    made = Made(5)
    with read_ahead(made) as items:
        assert list(items) == [0, 1, 2, 3, 4]
    assert made.pid != _pid()
    assert _has_ended(made)


def test_the_reader_is_at_most_two_items_ahead():
    made = Made(100)
    with read_ahead(made) as items:
        for number in items:
            wait_for(lambda number=number: made.n_made >= min(100, number + 2))
            assert made.n_made <= number + 3


def test_an_error_comes_where_its_item_would_have_come():
    made, taken = Made(5, error_at=2), []
    with pytest.raises(ValueError, match="the log is gone"), read_ahead(made) as items:
        taken.extend(items)
    assert made.n_made == 2
    assert _has_ended(made)


def test_a_caller_that_fails_takes_its_reader_with_it():
    made = Made(100)
    with pytest.raises(ZeroDivisionError), read_ahead(made) as items:
        any(1 / (number - 3) > 1 for number in items)
    assert made.n_made < 10
    assert _has_ended(made)


def test_a_reader_that_was_never_asked_ends_too():
    made = Made(100)
    with read_ahead(made):
        wait_for(lambda: made.n_made == 2, within_s=PATIENCE_S)
    assert _has_ended(made)


def test_in_a_transaction_the_caller_sees_its_own_rows():
    def counts():
        yield Exclusion.objects.count()

    with transaction.atomic():
        Exclusion.objects.create(rule={})
        with read_ahead(counts) as items:
            assert list(items) == [1]
