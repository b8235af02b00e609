"""A learner that fails says why, and neither sleeps nor restores for ever."""

import logging

import pytest
from django.db import DataError, OperationalError, connection

from recommender import tasks
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Learner
from recommender.publishing.publisher import Publisher
from recommender.tasks import BACK_OFF_S, LONGEST_BACK_OFF_S, RETRY_S, BackOff
from tests.help.held_clock import HeldClock
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


def refuse(*_, **__):
    """Raise the error of PostgreSQL for a value that is too large."""
    with connection.cursor() as cursor:
        message = "invalid memory alloc request size"
        cursor.execute(f"DO $$ BEGIN RAISE SQLSTATE 'XX000' USING MESSAGE = '{message}'; END $$")


def test_the_cause_of_a_refused_statement_is_named(monkeypatch, caplog):
    monkeypatch.setattr(learner, "learn", refuse)
    tasks.learn(0)
    (record,) = [record for record in caplog.records if record.name == "recommender.tasks"]
    assert record.levelno == logging.ERROR
    assert "invalid memory alloc request size" in record.message
    assert "does not answer" not in record.message


def test_an_outage_is_named_as_one(monkeypatch, caplog):
    def fail(_shard):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(learner, "learn", fail)
    tasks.learn(0)
    assert "the database does not answer" in caplog.text


def test_wakes_after_a_failure_do_nothing_until_it_is_time(monkeypatch, clock):
    tried = []

    def fail(shard):
        tried.append(shard)
        raise DataError("too long")

    monkeypatch.setattr(learner, "learn", fail)
    for _ in range(39):
        tasks.learn(0)
        clock.forward(0.25)
    assert tried == [0]
    clock.forward(BACK_OFF_S)
    tasks.learn(0)
    tasks.learn(1)
    assert tried == [0, 0, 1]


def test_failures_in_a_row_are_tried_ever_more_rarely_and_an_outage_is_not():
    clock = HeldClock()
    back_off = BackOff(clock)
    pauses = [back_off.wait_longer(0) for _ in range(8)]
    assert pauses[:3] == [BACK_OFF_S, 2 * BACK_OFF_S, 4 * BACK_OFF_S]
    assert pauses[-1] == LONGEST_BACK_OFF_S
    back_off.end(0)
    assert back_off.wait_longer(0) == BACK_OFF_S
    back_off.wait(0, RETRY_S)
    clock.forward(RETRY_S)
    assert not back_off.is_on(0)


def test_a_failure_outside_a_step_costs_no_restore(monkeypatch, settings, clock):
    settings.PUBLISH_EVERY_S = 0.0
    event_log.append(clicks(5))
    assert learner.learn(0) == 5
    warm = learner.in_memory(0)
    event_log.append(clicks(5, start=5))
    clock.forward(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", refuse)
        tasks.learn(0)
    assert learner.in_memory(0) is warm
    clock.forward(BACK_OFF_S)
    tasks.learn(0)
    row = Learner.objects.get()
    assert (row.n_events, row.step) == (10, warm.step)


def test_a_failure_in_a_step_drops_the_pipeline_that_is_ahead_of_the_database(monkeypatch, settings, clock):
    settings.PUBLISH_EVERY_S = 0.0
    event_log.append(clicks(5))
    learner.learn(0)
    event_log.append(clicks(5, start=5))
    clock.forward(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(learner.verdict_writer, "store", refuse)
        tasks.learn(0)
    assert learner.in_memory(0) is None
    assert learner.learn(0) == 5
