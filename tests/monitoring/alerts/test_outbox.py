"""Messages are recorded with their change, then delivered, signed and tried again.

No two processes deliver the same message at a time.
"""

import json
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from config.celery import app
from monitoring import tasks
from monitoring.alerts import outbox, webhook
from monitoring.models import Notification
from recommender import database_outage
from tests.help.delivered_alerts import answer, deliver, make_due, ok, only
from tests.help.patience import PATIENCE_S
from tests.help.scripted_server import closed_port

pytestmark = pytest.mark.usefixtures("clock", "wall")


# -- writing ------------------------------------------------------------------------------------------------------


def test_where_nobody_is_to_be_told_nothing_is_written_or_sent(db):
    assert outbox.notify(kind="freeze", title="Learning stopped") is None
    assert deliver() == (0, 0)
    assert not Notification.objects.exists()
    assert not mail.outbox


def test_a_message_goes_with_the_transaction_of_what_it_tells(hook):
    hook(ok)
    with transaction.atomic():
        outbox.notify(kind="freeze", title="Learning stopped")
        transaction.set_rollback(True)
    assert not Notification.objects.exists()


def test_each_channel_has_its_own_row_of_one_event(hook, mailed):
    hook(ok)
    event_id = outbox.notify(kind="finding", title="A crowd")
    rows = Notification.objects.values_list("channel", "event_id", "is_urgent")
    assert {*rows} == {("webhook", event_id, False), ("email", event_id, False)}


@pytest.mark.parametrize("facts", [{"x": "y" * 5000}, {"x": float("nan")}, {"x": {1}}])
def test_facts_that_do_not_fit_are_refused(hook, facts):
    hook(ok)
    with pytest.raises(ValueError, match=r".+"):
        outbox.notify(kind="finding", title="A crowd", facts=facts)
    assert not Notification.objects.exists()


# -- trying again ---------------------------------------------------------------------------------------------------


def test_after_one_failure_the_others_wait_for_the_next_run(hook):
    script = hook(answer(500), ok)
    for i in range(3):
        outbox.notify(kind="finding", title=str(i))
    assert deliver() == (0, 1)
    assert deliver() == (2, 0)
    assert [json.loads(body)["title"] for _, body, _ in script.got] == ["0", "1", "2"]


def test_a_channel_rests_in_proportion_to_what_it_took(hook, clock):
    script = hook(lambda handler: clock.forward(2.0) or ok(handler))
    outbox.notify(kind="finding", title="A crowd")
    assert outbox.deliver() == (1, 0)
    outbox.notify(kind="finding", title="Another")
    clock.forward(2.0 * database_outage.PAUSE_PER_WAIT - 0.1)
    assert outbox.deliver() == (0, 0)
    assert len(script.got) == 1
    clock.forward(0.1)
    assert outbox.deliver() == (1, 0)


def test_retries_come_later_and_later_up_to_an_hour():
    for attempts in range(1, 40):
        longest = min(3600, 10 * 2 ** (attempts - 1))
        pauses = {outbox.retry_s(attempts) for _ in range(20)}
        assert len(pauses) > 1
        assert all(longest / 2 <= pause <= longest for pause in pauses)


def test_after_a_day_of_failures_it_is_given_up(hook):
    script = hook(answer(500), ok)
    outbox.notify(kind="finding", title="A crowd")
    Notification.objects.update(created_at=timezone.now() - timedelta(days=1))
    assert deliver() == (0, 1)
    assert only().state == "failed"
    make_due()
    assert deliver() == (0, 0)
    assert len(script.got) == 1


def test_who_dies_while_sending_has_failed(hook, monkeypatch):
    hook(ok)
    outbox.notify(kind="finding", title="A crowd")
    monkeypatch.setattr(webhook, "post", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        deliver()
    assert (only().state, only().attempts) == ("pending", 1)
    assert only().next_at > timezone.now()


@pytest.mark.django_db(transaction=True)
def test_a_channel_is_delivered_to_by_one_at_a_time_and_no_transaction_waits_for_it(hook):
    arrived, go_on = threading.Event(), threading.Event()

    def slow(handler):
        arrived.set()
        go_on.wait(PATIENCE_S)
        ok(handler)

    script = hook(slow, ok)
    for i in range(2):
        outbox.notify(kind="finding", title=str(i))
    counts = []

    def run():
        try:
            counts.append(outbox.deliver())
        finally:
            connection.close()

    first = threading.Thread(target=run)
    first.start()
    assert arrived.wait(PATIENCE_S)
    assert outbox.deliver() == (0, 0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) FROM pg_current_snapshot() s")
        assert cursor.fetchone() == (True,)
    go_on.set()
    first.join()
    assert counts == [(2, 0)]
    assert len(script.got) == 2


# -- mail ---------------------------------------------------------------------------------------------------------


def test_a_freeze_is_mailed_at_once(mailed, decide):
    review = decide(note="hit rate fell\nby half")
    outbox.notify(kind="freeze", title="Learning stopped", facts={"hit_rate": 0.25}, review=review)
    assert deliver() == (1, 0)
    [message] = mailed
    assert message.subject == "[Groundswell] URGENT: Learning stopped"
    assert message.to == ["olga@example.com", "otto@example.com"]
    for part in ("Learning stopped", "hit_rate: 0.25", "by policy: hit rate fell by half", review.hash):
        assert part in message.body


def test_the_rest_is_one_digest(mailed):
    for i in range(3):
        outbox.notify(kind="finding", title=f"crowd {i}")
    assert deliver() == (0, 0)
    Notification.objects.filter(title="crowd 0").update(next_at=timezone.now())
    assert deliver() == (3, 0)
    [message] = mailed
    assert message.subject == "[Groundswell] 3 messages. The first: crowd 0"
    assert all(f"crowd {i}" in message.body for i in range(3))
    make_due()
    assert deliver() == (0, 0)


def test_an_urgent_message_leaves_the_digest_waiting(mailed):
    outbox.notify(kind="finding", title="a crowd")
    outbox.notify(kind="freeze", title="Learning stopped")
    assert deliver() == (1, 0)
    assert "a crowd" not in mailed[0].body
    assert Notification.objects.get(title="a crowd").state == "pending"


def test_a_mail_server_that_is_away_is_asked_again(mailed, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", closed_port()
    outbox.notify(kind="freeze", title="Learning stopped")
    assert deliver() == (0, 1)
    assert "refused" in only().last_error
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    make_due()
    assert deliver() == (1, 0)
    assert len(mailed) == 1


def test_the_mail_server_and_the_webhook_fail_apart(hook, mailed):
    hook(answer(500))
    outbox.notify(kind="freeze", title="Learning stopped")
    assert deliver() == (1, 1)
    assert len(mailed) == 1


# -- the rest -----------------------------------------------------------------------------------------------------


def test_old_messages_are_forgotten(hook):
    hook(ok)
    for i in range(2):
        outbox.notify(kind="finding", title=str(i))
    deliver()
    Notification.objects.filter(title="0").update(created_at=timezone.now() - timedelta(days=31))
    tasks.keep_house()
    assert only().title == "1"


def test_beat_delivers_and_keeps_house():
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert {"monitoring.deliver", "monitoring.keep_house"} <= scheduled <= set(app.tasks)


def test_the_task_delivers(hook):
    hook(ok)
    outbox.notify(kind="finding", title="A crowd")
    tasks.deliver_notifications()
    assert only().state == "sent"


def test_a_test_message_tells_whether_it_arrived(hook):
    hook(ok, answer(500))
    out = StringIO()
    call_command("alerts", "test", stdout=out)
    assert "webhook sent" in out.getvalue()
    outbox.rests["webhook"].end()
    with pytest.raises(CommandError, match="not delivered"):
        call_command("alerts", "test", stdout=StringIO())
    out = StringIO()
    call_command("alerts", "list", "--state", "pending", stdout=out)
    assert "answered 500" in out.getvalue()


def test_a_test_message_to_nobody_says_what_to_set(db):
    with pytest.raises(CommandError, match="ALERT_WEBHOOK_URL"):
        call_command("alerts", "test")
