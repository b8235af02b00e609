"""An erasure or a revert that fails unexpectedly lets the next one go on.

People are told once, and can try it again.
"""

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.urls import reverse

from monitoring import tasks as monitoring_tasks
from monitoring.models import Review
from recommender import tasks
from recommender.control import erasures, learning_switch, reverts
from recommender.errors import Conflict
from recommender.learning.checkpoints.object_store import StoreUnavailable
from recommender.models import Checkpoint, Erasure, Revert
from recommender.process_state import forget_all
from tests.failing_jobs.conftest import MAL, ZOE, ask_revert, measured, shown
from tests.monitoring.console.test_pages import signed_in

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


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


def test_an_operator_sees_failed_jobs_and_tries_them_again_in_the_console(accounts, learned, broken):
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


def test_a_viewer_cannot_try_a_job_again(accounts):
    client = signed_in(accounts["viewer"])
    for name in ("console:retry-erasure", "console:retry-revert"):
        assert client.post(reverse(name, args=[1])).status_code == 403
