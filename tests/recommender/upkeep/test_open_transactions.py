"""The transaction that holds up learning is named, in any database of the server."""

import uuid

import psycopg
import pytest
from django.db import connection

from recommender.api import health
from recommender.learning import learner
from recommender.log import event_log
from recommender.process_state import clock as process_clock
from recommender.upkeep import open_transactions, server_warnings
from recommender.upkeep.server_warnings import HELD_UP_S, ServerFigures, warn
from tests.help.log_rows import clicks

pytestmark = pytest.mark.django_db(transaction=True)


def connect(**more):
    parameters = connection.get_connection_params() | {"cursor_factory": None} | more
    parameters.pop("context", None)
    return psycopg.connect(**parameters)


@pytest.fixture
def elsewhere(transactional_db):
    """Yield a connection to another database of the same server, which has a table."""
    name = f"elsewhere_{uuid.uuid4().hex[:8]}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    with connect(dbname=name, application_name="nightly etl") as other:
        other.execute("CREATE TABLE sales (n int)")
        other.commit()
        yield other
        other.rollback()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_without_an_open_transaction_none_is_named():
    assert open_transactions.find_oldest() is None


@pytest.mark.usefixtures("empty_log", "view_store", "fresh_process")
def test_a_transaction_in_another_database_holds_up_learning_and_is_named(elsewhere, clock):
    elsewhere.execute("INSERT INTO sales VALUES (1)")
    event_log.append(clicks(3))
    assert learner.learn(0) == 0
    oldest = open_transactions.find_oldest()
    assert oldest.pid == elsewhere.info.backend_pid
    assert oldest.database == elsewhere.info.dbname
    assert oldest.state == "idle in transaction"
    clock.forward(HELD_UP_S)
    (warning,) = warn(ServerFigures(transaction=open_transactions.find_oldest()))
    for told in (str(oldest.pid), oldest.database, elsewhere.info.user, "nightly etl", "idle in transaction"):
        assert told in warning.text
    elsewhere.rollback()
    clock.forward(1.0)
    assert open_transactions.find_oldest() is None
    assert learner.learn(0) == 3


def test_a_transaction_that_only_reads_holds_up_nothing(elsewhere):
    elsewhere.execute("SELECT * FROM sales")
    assert open_transactions.find_oldest() is None


def test_a_role_without_rights_still_names_the_process_and_says_the_rest_is_hidden(elsewhere, clock):
    elsewhere.execute("INSERT INTO sales VALUES (1)")
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE of_little_rights")
        cursor.execute("SET ROLE of_little_rights")
        try:
            open_transactions.find_oldest()
            clock.forward(30)
            oldest = open_transactions.find_oldest()
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP ROLE of_little_rights")
    assert (oldest.pid, oldest.database) == (elsewhere.info.backend_pid, elsewhere.info.dbname)
    assert (oldest.state, oldest.age_s) == (None, None)
    assert oldest.open_s == 30
    assert "at least 30 s" in str(oldest)
    assert "hidden from this role" in str(oldest)


def test_a_prepared_transaction_is_named(clock):
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_prepared_transactions")
        if cursor.fetchone()[0] == "0":
            pytest.skip("this server allows no prepared transactions (max_prepared_transactions = 0)")
    with connect(autocommit=True) as other:
        other.execute("BEGIN")
        other.execute("CREATE TABLE of_a_forgotten_commit ()")
        other.execute("PREPARE TRANSACTION 'forgotten'")
        try:
            oldest = open_transactions.find_oldest()
        finally:
            other.execute("ROLLBACK PREPARED 'forgotten'")
    assert (oldest.gid, oldest.pid) == ("forgotten", None)
    assert "prepared transaction 'forgotten'" in str(oldest)


def test_health_and_metrics_name_it(elsewhere, anonymous, clock):
    elsewhere.execute("INSERT INTO sales VALUES (1)")
    open_transactions.find_oldest()
    clock.forward(HELD_UP_S + health.KEPT_S)
    answer = anonymous.get("/health/ready")
    (told,) = [each for each in answer.json["warnings"] if "holds up learning" in each]
    assert str(elsewhere.info.backend_pid) in told
    body = anonymous.get("/metrics").body.decode()
    assert 'groundswell_warning{warning="open_transaction"} 1.0' in body
    (line,) = [each for each in body.splitlines() if each.startswith("groundswell_oldest_transaction_seconds")]
    assert float(line.split()[1]) >= HELD_UP_S
    assert process_clock() == clock()
    server_warnings.get_figures()
