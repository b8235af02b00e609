"""Every limit is warned of before it hurts, and quiet figures give no warning."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django.db import connection

from recommender.models import DatabaseSize
from recommender.upkeep import database_limits, server_warnings
from recommender.upkeep.chores import ChoreState
from recommender.upkeep.database_limits import Connections, Space
from recommender.upkeep.failed_jobs import FailedJob
from recommender.upkeep.log_reach import LogReach
from recommender.upkeep.open_transactions import OpenTransaction
from recommender.upkeep.server_warnings import GIVEN_BY, ServerFigures, is_known, warn
from recommender.upkeep.store_memory import StoreMemory

GIB = 2**30
SINCE = datetime(2026, 1, 31, 12, tzinfo=UTC)
QUIET = ServerFigures(
    transaction=OpenTransaction(9, 4711, "shop", "etl", "", "active", 1.0, 1.0, None),
    space=Space(10 * GIB, 90 * GIB, 1.0 * GIB),
    connections=Connections(20, 97, "the server"),
    xid_age=("shop", 150_000_000),
    reach=LogReach(31, 7, 0, 0.1, 0),
    store=StoreMemory(1 * GIB, 8 * GIB),
    chores=(ChoreState("housekeeping", 3000.0, 0, ""), ChoreState("retrain", 90_000.0, 0, "")),
)


def test_quiet_figures_and_unknown_ones_give_no_warning():
    assert warn(QUIET) == []
    assert warn(ServerFigures()) == []


@pytest.mark.parametrize(
    ("changed", "name", "is_urgent", "told"),
    [
        (
            {"transaction": replace(QUIET.transaction, age_s=20.0)},
            "open_transaction",
            False,
            "pg_terminate_backend(4711)",
        ),
        ({"transaction": replace(QUIET.transaction, age_s=90.0)}, "open_transaction", True, "process 4711 of etl"),
        (
            {"transaction": OpenTransaction(9, None, "shop", "etl", "", None, 7200.0, 1.0, "two-phase")},
            "open_transaction",
            True,
            "ROLLBACK PREPARED 'two-phase'",
        ),
        ({"space": Space(85 * GIB, 15 * GIB, None)}, "database_space", False, "15.0 GiB left"),
        ({"space": Space(10 * GIB, 50 * GIB, 10.0 * GIB)}, "database_space", False, "5.0 days are left"),
        ({"space": Space(10 * GIB, 10 * GIB, 10.0 * GIB)}, "database_space", True, "1.0 days are left"),
        ({"space": Space(95 * GIB, 5 * GIB, -1.0)}, "database_space", True, "5.0 GiB left"),
        ({"connections": Connections(80, 97, "the server")}, "connections", False, "80 of the 97"),
        ({"connections": Connections(19, 20, "the role")}, "connections", True, "the role"),
        ({"xid_age": ("old", 1_200_000_000)}, "transaction_ids", False, "database old"),
        ({"xid_age": ("old", 1_700_000_000)}, "transaction_ids", True, "VACUUM FREEZE"),
        ({"reach": LogReach(31, 7, 2, 26.0, 0)}, "log_reach", False, "Shard 2"),
        ({"reach": LogReach(31, 7, 2, 29.0, 0)}, "log_reach", True, "29.0 days old"),
        ({"reach": LogReach(34, 7, 0, 0.1, 0)}, "log_kept", False, "34 days old"),
        ({"reach": LogReach(31, 2, 0, 0.1, 0)}, "log_ahead", False, "2 more days"),
        ({"store": StoreMemory(7 * GIB, 8 * GIB)}, "view_store", False, "7.0 GiB of 8.0 GiB"),
        (
            {"chores": (ChoreState("housekeeping", 60.0, 2, "thin: boom"),)},
            "failed_housekeeping",
            False,
            "thin: boom",
        ),
        ({"chores": (ChoreState("housekeeping", 14_400.0, 0, ""),)}, "late_housekeeping", False, "4.0 hours ago"),
        ({"chores": (ChoreState("follow_up_3", 1.0, 1, "x"),)}, "failed_follow_up_3", False, "a freeze failed once"),
        ({"failed_jobs": (FailedJob("erasure", 7, SINCE, "x"),)}, "erasure_failed_7", False, "actor retry 7"),
        ({"failed_jobs": (FailedJob("erasure", 7, SINCE, "x", False),)}, "erasure_failed_7", False, "Ask for the"),
        ({"failed_jobs": (FailedJob("revert", 7, SINCE, "x" * 999),)}, "revert_failed_7", False, "xxx... Nothing"),
    ],
)
def test_a_limit_that_comes_near_is_named_with_what_to_do(changed, name, is_urgent, told):
    (warning,) = warn(replace(QUIET, **changed))
    assert (warning.name, warning.is_urgent) == (name, is_urgent)
    assert told in warning.text
    (figure,) = changed
    assert is_known(name, QUIET)
    assert not is_known(name, replace(QUIET, unread=frozenset({figure})))
    assert is_known(name, replace(QUIET, unread=frozenset(GIVEN_BY) - {figure}))


@pytest.mark.django_db(transaction=True)
def test_a_figure_that_cannot_be_read_is_unknown_and_no_other_is(monkeypatch, settings, caplog):
    def time_out():
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '1ms'; SELECT pg_sleep(60)")

    monkeypatch.setattr(database_limits, "read_space", time_out)
    settings.VIEW_URL = "redis://127.0.0.1:1/0"
    try:
        figures = server_warnings.read_figures()
    finally:
        connection.close()
    assert figures.unread == {"space", "store"}
    assert (figures.space, figures.store) == (None, None)
    assert figures.connections.n_used > 0
    assert "the figure 'space' cannot be read" in caplog.text
    assert "the figure 'store' cannot be read: the view store does not answer" in caplog.text


def test_of_many_failed_jobs_the_first_are_named_and_the_rest_counted():
    failed = tuple(FailedJob("erasure", number, SINCE, "x") for number in range(9))
    names = [each.name for each in warn(replace(QUIET, failed_jobs=failed))]
    assert names == [*(f"erasure_failed_{number}" for number in range(5)), "more_failed"]


def test_urgent_warnings_come_first():
    figures = replace(QUIET, connections=Connections(80, 97, "the server"), xid_age=("old", 1_700_000_000))
    assert [each.name for each in warn(figures)] == ["transaction_ids", "connections"]


@pytest.mark.django_db
@pytest.mark.usefixtures("view_store")
def test_all_figures_are_read_from_real_servers():
    figures = server_warnings.read_figures()
    assert figures.space.n_bytes > 1_000_000
    assert 0 < figures.connections.n_used <= figures.connections.n_most
    assert figures.xid_age[1] >= 0
    assert figures.reach.ahead_days >= 0
    assert 0 < figures.store.n_bytes < figures.store.n_most


@pytest.mark.django_db
def test_a_role_without_rights_reads_them_too():
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE of_few_rights CONNECTION LIMIT 50")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO of_few_rights")
        cursor.execute("SET ROLE of_few_rights")
        figures = server_warnings.read_figures()
        cursor.execute("RESET ROLE")
    assert figures.space.n_bytes > 1_000_000
    assert figures.connections.n_most > 0


@pytest.mark.django_db
def test_growth_is_measured_by_the_databases_clock(settings):
    settings.DATABASE_MAX_BYTES = 2**40
    assert database_limits.read_space().growth_bytes is None
    database_limits.sample_size()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE recommender_databasesize SET at = now() - interval '2 days', n_bytes = n_bytes - 2000000"
        )
    space = database_limits.read_space()
    assert space.growth_bytes == pytest.approx(1_000_000, rel=0.2)
    assert space.days_left == pytest.approx(space.left_bytes / space.growth_bytes)
    assert 0 < space.used_share < 0.01


@pytest.mark.django_db
def test_old_sizes_are_forgotten():
    database_limits.sample_size()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE recommender_databasesize SET at = now() - interval '31 days'")
    database_limits.sample_size()
    assert DatabaseSize.objects.count() == 1
