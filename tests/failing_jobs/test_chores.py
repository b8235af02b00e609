"""A chore that raises something unexpected is noted, and people are told once.

If a part of a job fails, the next in line goes on.
"""

from datetime import timedelta

import pytest

from monitoring import tasks as monitoring_tasks
from monitoring.alerts import outbox, warning_messages, webhook
from monitoring.findings import collect_findings, refresh_findings
from monitoring.models import Finding, Notification, Review
from monitoring.operations import request_revert, run_trial
from monitoring.policy import enforcement
from recommender import housekeeping, tasks
from recommender.control import erasures, reverts
from recommender.upkeep import chores, server_warnings
from tests.failing_jobs.conftest import ask_revert, measured, pass_time, shown

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


JOBS = {
    "erase": (tasks.erase, erasures, "run_next", "carry out erasures"),
    "revert": (tasks.revert, reverts, "run_next", "carry out reverts"),
    "deliver": (monitoring_tasks.deliver_notifications, outbox, "deliver", "deliver messages"),
    "gather": (monitoring_tasks.gather_findings, collect_findings, "gather", "gather findings"),
    "follow_up_0": (lambda: monitoring_tasks.follow_up(0), enforcement, "follow_up", "look after a freeze"),
    "housekeeping": (tasks.keep_house, housekeeping, "delete_old_rows", "delete old rows"),
    "monitoring_housekeeping": (monitoring_tasks.keep_house, outbox, "prune", "delete old messages"),
    "retrain": (monitoring_tasks.retrain, run_trial, "hold", "hold a trial"),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_fails_is_noted_told_once_and_well_again_after_a_success(name, broken, told, settings):
    run, owner, function, part = JOBS[name]
    settings.RETRAIN_EVERY_H = 1
    chores.run("retrain", {}, every=timedelta(hours=1), is_due_at_first=False)
    pass_time(timedelta(hours=2))
    patch = broken(owner, function)
    for _ in range(3):
        run()
    (state,) = [each for each in chores.list_chores() if each.name == name]
    assert state.n_failures >= 1
    assert state.error == f"{part}: KeyError: 'a bug'"
    (warning,) = shown()
    assert warning.endswith(f"{part}: KeyError: 'a bug'")
    assert f'groundswell_warning{{warning="failed_{name}"}} 1.0' in measured()
    assert len(told()) == len(told()) == 1
    patch.undo()
    if name == "retrain":
        patch.setattr(owner, function, lambda **_: None)
    pass_time(timedelta(hours=2))
    run()
    patch.undo()
    assert shown() == []
    (state,) = [each for each in chores.list_chores() if each.name == name]
    assert (state.n_failures, state.error) == (0, "")


def test_warnings_that_cannot_be_sent_are_told_of_once_and_shown(broken, told, caplog):
    patch = broken(server_warnings, "warn")
    for _ in range(2):
        assert len(told()) == 1
    patch.undo()
    (warning,) = shown()
    assert warning.startswith("Sending warnings failed")
    pass_time()
    told()
    assert shown() == []


def test_warnings_that_cannot_even_be_noted_are_told_of_once(broken, told):
    broken(warning_messages, "tell")
    for _ in range(3):
        assert len(told()) == 1


def test_a_failure_stays_until_people_could_see_it():
    def fail():
        raise KeyError("a bug")

    chores.run_often("often", {"work": fail})
    assert chores.run_often("often", {"work": int}) == 0
    assert chores.list_chores()[0].n_failures == 1
    pass_time()
    chores.run_often("often", {"work": int})
    assert chores.list_chores()[0].n_failures == 0


def test_the_same_error_in_every_run_is_logged_once_in_a_while(caplog):
    def fail():
        raise KeyError("a bug")

    assert [chores.run_often("often", {"work": fail}) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert caplog.text.count("Traceback") == 1


# -- the next in line ------------------------------------------------------------------------------------------------


def test_a_message_that_cannot_be_sent_keeps_no_other_from_being_sent(settings, monkeypatch, told):
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = "http://127.0.0.1:1/", "a secret of sixteen"
    for title in ("wrong", "right"):
        outbox.notify(kind="finding", title=title)

    def post(url, body, **_):
        if b"wrong" in body:
            raise KeyError("a bug")

    monkeypatch.setattr(webhook, "post", post)
    monitoring_tasks.deliver_notifications()
    rows = {row.title: row for row in Notification.objects.all()}
    assert (rows["wrong"].state, rows["right"].state) == ("failed", "sent")
    assert rows["wrong"].last_error == "KeyError: 'a bug'"
    assert len(told()) == 1


def test_a_wrong_message_spoils_no_digest(settings, monkeypatch, mailoutbox):
    settings.ALERT_EMAILS = ["olga@example.com"]
    for title in ("wrong", "right", "fine"):
        outbox.notify(kind="freeze", title=title)
    line = outbox._line

    def fail(row):
        if row.title == "wrong":
            raise KeyError("a bug")
        return line(row)

    monkeypatch.setattr(outbox, "_line", fail)
    monitoring_tasks.deliver_notifications()
    assert dict(Notification.objects.values_list("title", "state")) == {
        "wrong": "failed",
        "right": "sent",
        "fine": "sent",
    }
    (mail,) = mailoutbox
    assert "right" in mail.body
    assert "fine" in mail.body


def test_a_finding_that_cannot_be_counted_keeps_no_other_from_it(learned, broken):
    rows = [Finding.objects.create(title="x", item="x", first_ms=1, last_ms=2, is_stale=True) for _ in range(2)]
    broken(refresh_findings, "_count", lambda finding, *_: finding.pk == rows[0].pk)
    monitoring_tasks.gather_findings()
    assert list(Finding.objects.filter(is_stale=True)) == [rows[0]]
    (warning,) = shown()
    assert f"finding {rows[0].pk}: KeyError" in warning


def test_a_shard_that_cannot_be_gathered_does_not_keep_reverts_from_being_recorded(learned, broken):
    ask_revert()
    tasks.revert()
    broken(collect_findings, "_gather_shard")
    monitoring_tasks.gather_findings()
    assert request_revert.close_reverts() == 0
    assert Review.objects.filter(action="revert").exists()
