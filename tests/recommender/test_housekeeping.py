"""Housekeeping drops old data by the database's clock, and nothing still needed."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from recommender import database_clock, housekeeping
from recommender.learning import active_checkpoint, learner
from recommender.log import event_log, partitions
from recommender.log.buckets import shard_of
from recommender.log.partitions import ensure_partitions
from recommender.models import Chore, Event, Learner
from recommender.upkeep import chores, log_reach
from tests.help import version_0_1
from tests.help.log_rows import clicks, events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


def days_ago(days):
    return (database_clock.now() - timedelta(days=days)).date()


def append_old(n, days):
    """Append clicks as if they had come so many days ago."""
    ensure_partitions(today=days_ago(days))
    event_log.append_at(clicks(n), [database_clock.now().timestamp() - 86_400 * days] * n)


def test_housekeeping_runs_once_an_hour_by_the_databases_clock():
    assert housekeeping.keep_house()
    assert not housekeeping.keep_house()
    Chore.objects.update(begun_at=Now() - housekeeping.EVERY, done_at=Now() - housekeeping.EVERY)
    assert housekeeping.keep_house()


def test_a_machine_whose_clock_is_ahead_drops_nothing_early(monkeypatch):
    append_old(3, days=20)
    monkeypatch.setattr("time.time", lambda: database_clock.unix_s() + 86_400 * 40)
    assert housekeeping.keep_house()
    assert Event.objects.count() == 3


def test_retention_drops_events_that_are_learned():
    append_old(3, days=40)
    assert learner.learn(0) == 3
    active_checkpoint.write(learner.in_memory(0), Learner.objects.get())
    housekeeping.keep_house()
    assert min(partitions.partitions()) >= days_ago(31)
    assert Event.objects.count() == 0


def test_retention_keeps_events_that_a_stopped_learner_needs_until_they_are_learned(caplog):
    learner.get_learner(0)
    append_old(3, days=40)
    housekeeping.keep_house()
    assert Event.objects.count() == 3
    assert "a learner still needs it" in caplog.text
    reach = log_reach.read_reach()
    assert reach.shard == 0
    assert reach.needed_days == pytest.approx(40, abs=0.1)
    assert reach.days_left < 0
    assert learner.learn(0) == 3


def test_retention_keeps_an_old_process_event_whose_shard_sql_cannot_tell(settings):
    settings.SHARDS = 2
    actor = next(
        f"actor-{n}" for n in range(100) if version_0_1.old_bucket(f"actor-{n}") % 2 != shard_of(f"actor-{n}", 2)
    )
    with version_0_1.migrated():
        learner.get_learner(shard_of(actor, 2))
        ensure_partitions(today=days_ago(40))
        at = database_clock.now().timestamp() - 86_400 * 40
        version_0_1.append_at(events([actor], ["story"]), [at])
        assert log_reach.oldest_needed_day() == days_ago(40)


def test_a_failed_part_is_recorded(monkeypatch):
    def fail():
        raise OSError("No space left on device")

    monkeypatch.setattr("recommender.learning.quality_log.thin", fail)
    housekeeping.keep_house()
    (state,) = chores.list_chores()
    assert state.n_failures == 1
    assert "thin figures: OSError: No space left on device" in state.error
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recommender_databasesize")
        assert cursor.fetchone()[0] == 1
