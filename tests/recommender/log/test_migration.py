"""The migration of the log's columns changes no row, and remembers where it ran."""

from importlib import import_module

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from recommender.log.partitions import partition, partitions
from recommender.models import Learner, Site, Step
from tests.help import version_0_1
from tests.help.clusters import django_on, made
from tests.help.log_rows import clicks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_log")]

MIGRATION = import_module("recommender.migrations.0013_log_columns")


def run(fill):
    """Return the note of a migration after `fill`, and undo all of it.

    Also return whether it left the log's files alone.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(MIGRATION.DROP_COLUMNS)
        fill()
        names = [partition(day) for day in partitions()]
        files = "SELECT array_agg(relfilenode ORDER BY oid) FROM pg_class WHERE relname = ANY(%s)"
        cursor.execute(files, [names])
        before = cursor.fetchone()
        cursor.execute(MIGRATION.ADD_COLUMNS)
        cursor.execute(files, [names])
        is_same = cursor.fetchone() == before
        cursor.execute(
            "SELECT xid::text::bigint, old_nodes_until - migrated_at = interval '7 days',"
            " old_nodes_until = migrated_at FROM recommender_log_change"
        )
        note = cursor.fetchone()
        cursor.execute("SELECT coalesce(bool_and(is_crawler IS NULL AND site = 1), true) FROM recommender_event")
        (are_old,) = cursor.fetchone()
        cursor.execute("SELECT xid::text::bigint FROM recommender_event ORDER BY xid DESC LIMIT 1")
        newest = cursor.fetchone()
        transaction.set_rollback(True)
    assert is_same
    assert are_old
    return *note, newest[0] if newest else None


def test_rows_stay_as_they_are_and_the_last_position_is_noted():
    xid, is_week, is_none, newest = run(lambda: version_0_1.append(clicks(20)))
    assert (xid, is_week, is_none) == (newest, True, False)


def test_a_learner_may_be_past_the_last_event():
    xid, is_week, *_ = run(lambda: Learner.objects.create(shard=0, xid=2**40))
    assert (xid, is_week) == (2**40, True)


def test_a_new_installation_has_no_old_processes():
    assert run(lambda: None) == (0, False, True, None)


def test_there_is_one_site():
    assert list(Site.objects.values_list("id", "name")) == [(1, "default")]


STEP_OF_0_1 = """
INSERT INTO recommender_step (
    shard, number, from_xid, from_seq, to_xid, to_seq, n_events, n_admitted, n_held, n_quarantined, n_released,
    n_retracted, n_unjudged, n_predicted, n_hits, reciprocal_ranks, n_trusted, n_trusted_hits, n_canary,
    n_canary_hits, alarm, stream_ms, duration_ms, created_at
) VALUES (0, %s, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, now())
"""


def test_no_learner_of_0_1_records_a_step_after_the_buckets_moved():
    with made() as cluster, django_on(cluster), connection.cursor() as cursor:
        call_command("migrate", "recommender", "0012", verbosity=0)
        cursor.execute(STEP_OF_0_1, [1])
        call_command("migrate", "recommender", "0013", verbosity=0)
        with pytest.raises(IntegrityError, match="learners_of_0_1_stopped"):
            cursor.execute(STEP_OF_0_1, [2])
        call_command("migrate", verbosity=0)
        with pytest.raises(IntegrityError, match="fold_version"):
            cursor.execute(STEP_OF_0_1, [2])
        assert list(Step.objects.values_list("number", "fold_version")) == [(1, 1)]
        Step.objects.filter(number=1).update(n_hits=1)
        call_command("migrate", "recommender", "0015", verbosity=0)
        with pytest.raises(IntegrityError, match="learners_of_0_1_stopped"):
            cursor.execute(STEP_OF_0_1, [2])
        call_command("migrate", "recommender", "0012", verbosity=0)
        cursor.execute(STEP_OF_0_1, [2])
