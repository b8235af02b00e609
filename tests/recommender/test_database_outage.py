"""An outage costs a process as long as it lasts, and none of its threads."""

import threading
from itertools import islice
from math import inf

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from recommender import database_outage
from recommender.database_outage import LONGEST_PAUSE_S, MAX_PAUSE_S, Outage, Pause, database, is_away, outage
from recommender.errors import Unavailable
from tests.help.flaky_port import HOST, flaky_port
from tests.help.patience import wait_for


@pytest.fixture
def port(transactional_db):
    """Yield a port in front of the test's PostgreSQL, through which Django connects."""
    known = connection.settings_dict
    host, number = known["HOST"], int(known["PORT"] or 5432)
    before = {name: known[name] for name in ("HOST", "PORT", "OPTIONS")}
    connection.close()
    with flaky_port(f"{host}/.s.PGSQL.{number}" if host.startswith("/") else (host, number)) as port:
        known.update(HOST=HOST, PORT=str(port.port), OPTIONS=known["OPTIONS"] | {"connect_timeout": 2})
        yield port
        outage.end()
        connection.close()
    known.update(before)


def ask():
    """Ask the database as a request does, on a connection of its own."""
    with database(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("how", ["refuse", "drop"])
def test_requests_are_refused_until_the_database_is_back_and_not_longer(port, how):
    getattr(port, how)()
    with pytest.raises(Unavailable):
        ask()
    assert outage.is_on
    port.let_through()
    wait_for(lambda: not outage.is_on)
    assert ask() == 1


def test_during_an_outage_no_request_tries_to_connect(port, monkeypatch):
    port.refuse()
    tries = []
    connect = connection.get_new_connection
    monkeypatch.setattr(connection, "get_new_connection", lambda params: (tries.append(1), connect(params))[1])
    for _ in range(50):
        with pytest.raises(Unavailable):
            ask()
    assert len(tries) == 1


def test_an_outage_that_ends_can_begin_again(port):
    for _ in range(2):
        port.refuse()
        connection.close()
        with pytest.raises(Unavailable):
            ask()
        port.let_through()
        wait_for(lambda: not outage.is_on)
        assert ask() == 1


def test_only_one_thread_tries_however_many_requests_fail():
    threads = set()

    def connect():
        threads.add(threading.current_thread())
        tried.append(1)
        raise OperationalError("gone")

    tried = []
    away = Outage(connect)
    for _ in range(10):
        away.begin()
    wait_for(lambda: len(tried) >= 3)
    assert len(threads) == 1
    away.end()
    assert not away.is_on


def test_the_pause_between_two_tries_is_bounded_however_long_the_outage():
    pauses = list(islice(database_outage.pause_lengths(), 100))
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST_PAUSE_S
    assert pauses[0] < 1


def test_a_failure_of_another_server_is_remembered_for_seconds_at_most(clock):
    pause = Pause(clock)
    pause.after(0.3)
    clock.forward(2.9)
    assert pause.is_on
    pause.after(60.0)
    clock.forward(MAX_PAUSE_S)
    assert not pause.is_on


def test_a_task_may_rest_for_longer(clock):
    pause = Pause(clock, longest_s=inf)
    pause.after(60.0)
    clock.forward(599.9)
    assert pause.is_on


REFUSED = {
    "SELECT 1 / 0": "22012",
    "SELECT * FROM a_table_that_is_missing": "42P01",
    "SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)": "57014",
    "DO $$ BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file: No space left' ; END $$": "53100",
    "DO $$ BEGIN RAISE SQLSTATE 'XX000' USING MESSAGE = 'invalid memory alloc request size' ; END $$": "XX000",
}


@pytest.mark.django_db
@pytest.mark.parametrize(("statement", "state"), REFUSED.items())
def test_a_statement_that_is_refused_is_no_outage_and_its_cause_is_named(statement, state):
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert not is_away(caught.value)
    told = database_outage.describe(caught.value)
    assert f"SQLSTATE {state}" in told
    assert "does not answer" not in told


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_gone_is_an_outage():
    connection.ensure_connection()
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    with pytest.raises(DatabaseError) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    assert is_away(caught.value)
    assert "does not answer" in database_outage.describe(caught.value)


@pytest.mark.django_db
def test_a_server_that_may_only_read_is_away():
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY; CREATE TABLE of_a_standby ()")
    assert is_away(caught.value)
