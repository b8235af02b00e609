"""Test the session locks that are waited for."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DataError, connection, connections, transaction

from recommender import locks

pytestmark = pytest.mark.django_db(transaction=True)
NUMBER = -7


def is_free_elsewhere(*, is_shared=False):
    def ask():
        try:
            with locks.hold(NUMBER, is_shared=is_shared) as is_free:
                return is_free
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()


def test_a_shared_lock_keeps_out_only_who_wants_it_alone():
    with locks.wait(NUMBER, is_shared=True):
        assert is_free_elsewhere(is_shared=True)
        assert not is_free_elsewhere()
    assert is_free_elsewhere()


def test_it_is_released_after_an_error():
    with pytest.raises(ZeroDivisionError), locks.wait(NUMBER):
        raise ZeroDivisionError
    assert is_free_elsewhere()


def test_an_error_of_the_database_in_a_transaction_is_raised_and_releases_it():
    with pytest.raises(DataError, match="division by zero"), transaction.atomic():
        _divide()
    assert is_free_elsewhere()


def _divide():
    with locks.wait(NUMBER), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def test_it_takes_no_transaction_id():
    with locks.wait(NUMBER), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned()")
        assert cursor.fetchone() == (None,)
