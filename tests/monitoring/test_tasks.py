"""A task without a database logs a line, and the next tick tries again."""

import logging

import pytest
from django.db import OperationalError

from monitoring.alerts import outbox
from monitoring.policy import enforcement
from monitoring.tasks import deliver_notifications, follow_up


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


def test_what_is_wrong_with_the_task_itself_is_not_hidden(monkeypatch):
    def wrong():
        raise ValueError("a bug")

    monkeypatch.setattr(outbox, "deliver", wrong)
    with pytest.raises(ValueError, match="a bug"):
        deliver_notifications()
