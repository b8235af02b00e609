"""A task without a database logs a line, and the next tick tries again."""

import logging

import pytest
from django.db import OperationalError

from monitoring.alerts import outbox
from monitoring.policy import enforcement
from monitoring.tasks import deliver_notifications, follow_up
from recommender.upkeep import chores


def away(*_):
    raise OperationalError("server closed the connection\n")


@pytest.mark.django_db(transaction=True)
def test_the_task_says_what_waits_and_ends_well(monkeypatch, caplog):
    monkeypatch.setattr(outbox, "deliver", away)
    monkeypatch.setattr(enforcement, "follow_up", away)
    with caplog.at_level(logging.WARNING):
        deliver_notifications()
        follow_up(3)
    assert [record.getMessage() for record in caplog.records] == [
        "the database does not answer (server closed the connection): messages wait",
        "the database does not answer (server closed the connection): shard 3 waits",
    ]
    assert {record.name for record in caplog.records} == {"monitoring.tasks"}


@pytest.mark.django_db(transaction=True)
def test_what_is_wrong_with_the_task_itself_is_noted_and_logged(monkeypatch, caplog):
    def wrong():
        raise ValueError("a bug")

    monkeypatch.setattr(outbox, "deliver", wrong)
    deliver_notifications()
    (state,) = chores.list_chores()
    assert (state.name, state.error) == ("deliver", "deliver messages: ValueError: a bug")
    assert "Traceback" in caplog.text
