"""Partitions are made ahead or when needed, and dropped whole with their keys."""

from datetime import timedelta

import pytest
from django.db import connection

from recommender.log import event_log
from recommender.log.partitions import drop_before, ensure_partitions, partitions
from recommender.models import Event
from tests.help.log_rows import clicks, events

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_log")]

KEY = b"0123456789abcdef"


def test_retention_drops_whole_days_and_their_keys():
    yesterday = min(partitions())
    today = yesterday + timedelta(days=1)
    old = today - timedelta(days=40)
    ensure_partitions(today=old)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO recommender_event_key VALUES (%s, %s)", [KEY, old])
    event_log.append(events("a", "x", key=[KEY[::-1]]))
    drop_before(today - timedelta(days=30))
    assert min(partitions()) == yesterday
    assert Event.objects.count() == 1
    assert event_log.append(events("aa", "xx", key=[KEY, KEY[::-1]])) == 1


def test_a_missing_partition_is_made_when_it_is_needed():
    for day in partitions():
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE recommender_event_{day:%Y%m%d}")
    assert event_log.append(clicks(3)) == 3


def test_partitions_that_an_old_process_made_get_their_replica_identity():
    identities = "SELECT DISTINCT relreplident FROM pg_class WHERE relname ~ '^recommender_event_[0-9]{8}$'"
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE recommender_event_{partitions()[-1]:%Y%m%d} REPLICA IDENTITY DEFAULT")
        ensure_partitions()
        cursor.execute(identities)
        assert cursor.fetchall() == [("f",)]


def test_making_partitions_again_changes_nothing():
    before = partitions()
    today = before[0] + timedelta(days=1)
    ensure_partitions(today=today)
    assert partitions() == before
    assert before[-1] - today == timedelta(days=7)
