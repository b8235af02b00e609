"""Every background job has one end when something unexpected is raised in it.

It is marked as failed with the error, people are told once, and the next in line goes on.
"""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.urls import reverse

from monitoring import tasks as monitoring_tasks
from monitoring.alerts import outbox, warning_messages, webhook
from monitoring.findings import collect_findings, refresh_findings
from monitoring.models import Finding, Notification, Review
from monitoring.operations import request_revert, run_trial
from monitoring.policy import enforcement
from recommender import housekeeping, tasks
from recommender.api import health, metrics
from recommender.control import erasures, learning_switch, reverts
from recommender.errors import Conflict
from recommender.learning import learner
from recommender.learning.checkpoints.object_store import StoreUnavailable
from recommender.log import event_log
from recommender.models import Checkpoint, Chore, Erasure, Revert
from recommender.process_state import forget_all
from recommender.upkeep import chores, server_warnings
from tests.help.log_rows import clicks
from tests.monitoring.conftest import accounts  # noqa: F401 (a fixture)
from tests.monitoring.console.test_pages import signed_in
from tests.recommender.conftest import *  # noqa: F403 - the API and a fresh learner, as fixtures

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

MAL, ZOE = "actor-7", "actor-3"
LATER = timedelta(minutes=11)


@pytest.fixture
def told(settings):
    """Return a function that lists the alerts.

    The keeper looks twice first.
    """
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:1/"
    settings.ALERT_WEBHOOK_SECRET = "a secret of sixteen"

    def told():
        for _ in range(2):
            forget_all()
            monitoring_tasks.warn()
        rows = Notification.objects.filter(kind="warning").order_by("id")
        return [each.payload["facts"]["text"] for each in rows]

    return told


@pytest.fixture
def learned():
    event_log.append(clicks(20))
    learner.learn(0)


@pytest.fixture
def broken(monkeypatch):
    """Return a function that lets another one raise: broken(owner, name).

    With `is_hit(*args)` it raises only for some arguments.
    """

    def broken(owner, name, is_hit=lambda *_, **__: True):
        works = getattr(owner, name)

        def fail(*args, **more):
            if is_hit(*args, **more):
                raise KeyError("a bug")
            return works(*args, **more)

        patch = pytest.MonkeyPatch()
        patches.append(patch)
        patch.setattr(owner, name, fail)
        return patch

    patches = []
    yield broken
    for patch in patches:
        patch.undo()


def shown():
    """Return the warnings of /health/ready."""
    forget_all()
    return health.list_warnings()


def pass_time(by=LATER):
    """Move the times of chores into the past."""
    for name in ("begun_at", "done_at", "failed_at"):
        Chore.objects.exclude(**{name: None}).update(**{name: Now() - by})
    forget_all()


def measured():
    forget_all()
    return metrics.render().decode()


def ask_revert():
    return learning_switch.ask_for_revert(
        checkpoint_id=Checkpoint.objects.order_by("step").first().pk, mode="replay", exclusion=None, is_preview=False
    )


# -- jobs with rows of their own -------------------------------------------------------------------------------------


def test_an_erasure_that_fails_is_failed_and_the_next_one_is_done(learned, broken, told, caplog):
    first, second = (erasures.ask_for(actor_id=each)[0] for each in (MAL, ZOE))
    broken(erasures, "_prepare", lambda erasure, row: erasure.actor == MAL)
    tasks.erase()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.error) == (Erasure.State.FAILED, "KeyError: 'a bug'")
    assert first.finished_at is not None
    assert second.state == Erasure.State.DONE
    assert "Traceback" in caplog.text
    (warning,) = shown()
    assert f"Erasure {first.pk} failed" in warning
    assert "KeyError: 'a bug'" in warning
    assert 'groundswell_failed_jobs{job="erasure"} 1.0' in measured()
    assert told() == [warning]
    for _ in range(3):
        tasks.erase()
    assert told() == [warning]


def test_a_failed_erasure_is_tried_again_and_the_warning_ends(learned, broken, told):
    asked, _ = erasures.ask_for(actor_id=MAL)
    patch = broken(erasures, "_prepare")
    tasks.erase()
    assert len(told()) == 1
    patch.undo()
    call_command("actor", "retry", str(asked.pk), "--now")
    asked.refresh_from_db()
    assert (asked.state, asked.actor, asked.error) == (Erasure.State.DONE, "", "")
    assert shown() == []
    assert not any(erasures.traces_of(MAL).values())
    review = Review.objects.latest("id")
    assert (review.action, review.subject["erasure"]) == ("erase", asked.pk)
    with pytest.raises(CommandError, match="only a failed one"):
        call_command("actor", "retry", str(asked.pk))


def test_an_erasure_that_is_asked_for_again_is_the_failed_one(learned, broken):
    asked, _ = erasures.ask_for(actor_id=MAL)
    broken(erasures, "_prepare").undo()
    Erasure.objects.filter(pk=asked.pk).update(state=Erasure.State.FAILED, error="x")
    again, is_new = erasures.ask_for(actor_id=MAL)
    assert (again.pk, is_new, again.state) == (asked.pk, True, Erasure.State.QUEUED)


def test_a_failed_erasure_without_a_name_says_what_to_do(learned, settings):
    asked, _ = erasures.ask_for(actor_id=MAL)
    failed = {"state": Erasure.State.FAILED, "actor": "", "error": "the log is short", "finished_at": Now()}
    Erasure.objects.filter(pk=asked.pk).update(**failed)
    (warning,) = shown()
    assert "Ask for the erasure again" in warning
    with pytest.raises(Conflict, match="no longer names its actor"):
        erasures.retry(erasure_id=asked.pk)
    settings.RETENTION_DAYS = 0
    assert shown() == []
    settings.RETENTION_DAYS = 30
    erasures.ask_for(actor_id=MAL)
    assert shown() == []


def test_the_error_of_an_erasure_names_no_actor(learned, monkeypatch):
    asked, _ = erasures.ask_for(actor_id=MAL)

    def fail(*_):
        raise ValueError(f"no place for {MAL}")

    monkeypatch.setattr(erasures, "_prepare", fail)
    tasks.erase()
    asked.refresh_from_db()
    assert asked.error == "ValueError: no place for (the actor)"


def test_an_outage_of_the_store_fails_no_erasure(learned, monkeypatch):
    asked, _ = erasures.ask_for(actor_id=MAL)

    def fail(*_):
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(erasures, "_prepare", fail)
    tasks.erase()
    asked.refresh_from_db()
    assert asked.state in (Erasure.State.QUEUED, Erasure.State.RUNNING)
    assert shown() == []


def test_a_revert_that_fails_is_failed_and_the_next_one_is_done(learned, broken, told):
    preview = learning_switch.ask_for_revert(
        checkpoint_id=Checkpoint.objects.order_by("step").first().pk, mode="replay", exclusion=None, is_preview=True
    )
    failed = ask_revert()
    broken(reverts, "_work_out", lambda revert: revert.pk == preview.pk)
    broken(reverts, "_switch", lambda revert, *_: revert.pk == failed.pk)
    tasks.revert()
    failed.refresh_from_db()
    preview.refresh_from_db()
    assert (failed.state, failed.error) == (Revert.State.FAILED, "KeyError: 'a bug'")
    assert preview.state == Revert.State.FAILED
    (warning,) = shown()
    assert f"Revert {failed.pk} failed" in warning
    assert 'groundswell_failed_jobs{job="revert"} 1.0' in measured()
    assert told() == [warning]
    later = ask_revert()
    tasks.revert()
    later.refresh_from_db()
    assert later.state == Revert.State.DONE
    assert shown() == []


def test_a_failed_revert_is_tried_again_by_the_api(live_api, learned, broken):
    checkpoint = Checkpoint.objects.order_by("step").first().pk
    body = {"checkpoint": checkpoint, "mode": "replay", "note": "too bad"}
    asked = live_api.post("/api/v1/model/revert", body, key="admin").json["revert"]
    patch = broken(reverts, "_work_out")
    tasks.revert()
    patch.undo()
    monitoring_tasks.gather_findings()
    again = live_api.post(f"/api/v1/model/reverts/{asked}/retry", {"note": "mended"}, key="admin")
    assert again.status == 202
    tasks.revert()
    assert live_api.get(f"/api/v1/model/reverts/{again.json['revert']}", key="admin").json["state"] == "done"
    assert Review.objects.get(subject__retry_of=asked).note == "mended"
    refused = live_api.post(f"/api/v1/model/reverts/{again.json['revert']}/retry", {"note": "x"}, key="admin")
    assert refused.code == "conflict"
    assert live_api.post("/api/v1/model/reverts/999/retry", {"note": "x"}, key="admin").code == "not_found"


def test_a_failed_erasure_is_tried_again_by_the_api(live_api, learned, broken):
    asked = live_api.delete(f"/api/v1/actors/{MAL}", key="admin").json
    patch = broken(erasures, "_prepare")
    tasks.erase()
    assert live_api.get(asked["url"], key="admin").json["error"] == "KeyError: 'a bug'"
    patch.undo()
    refused = live_api.post(f"{asked['url']}/retry", {"note": f"for {MAL}"}, key="admin")
    assert refused.code == "invalid"
    assert live_api.post(f"{asked['url']}/retry", {"note": "mended"}, key="admin").status == 202
    tasks.erase()
    assert live_api.get(asked["url"], key="admin").json["state"] == "done"


def test_an_operator_sees_failed_jobs_and_tries_them_again_in_the_console(accounts, learned, broken):  # noqa: F811
    asked, _ = erasures.ask_for(actor_id=MAL)
    failed = ask_revert()
    patches = broken(erasures, "_prepare"), broken(reverts, "_work_out")
    tasks.erase()
    tasks.revert()
    for patch in patches:
        patch.undo()
    forget_all()
    client = signed_in(accounts["operator"])
    page = client.get(reverse("console:overview")).content.decode()
    assert "Failed jobs" in page
    assert "KeyError" in page
    assert MAL not in page
    client.post(reverse("console:retry-erasure", args=[asked.pk]))
    asked.refresh_from_db()
    assert asked.state == Erasure.State.QUEUED
    assert "Try again" in client.get(reverse("console:revert", args=[failed.pk])).content.decode()
    client.post(reverse("console:retry-revert", args=[failed.pk]))
    assert Revert.objects.latest("id").state == Revert.State.QUEUED
    tasks.erase()
    tasks.revert()
    assert "Failed jobs" not in client.get(reverse("console:overview")).content.decode()


def test_a_viewer_cannot_try_a_job_again(accounts):  # noqa: F811
    client = signed_in(accounts["viewer"])
    for name in ("console:retry-erasure", "console:retry-revert"):
        assert client.post(reverse(name, args=[1])).status_code == 403


# -- jobs that are chores --------------------------------------------------------------------------------------------

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
