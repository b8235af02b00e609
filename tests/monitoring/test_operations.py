"""What is decided is written down with it, once, or neither happens."""

import threading

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from monitoring import findings, notify, operations
from monitoring.models import AskedRevert, Finding, Notification, Review
from monitoring.operations import Exclude
from recommender import control, learner, log, reverts
from recommender.errors import Conflict, Invalid, NotFound
from recommender.log import Position
from recommender.models import Checkpoint, Decision, Exclusion, Item, Learner, Revert, Step
from tests.monitoring.attacked import learn_all, push, site, write
from tests.recommender.learning import warm
from tests.recommender.logs import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
WHY = {"by": "shell:olga", "note": "hit rate fell"}


@pytest.fixture
def learned():
    for batch in (clicks(20), clicks(20, start=20, item="mal's")):
        log.append(batch)
        learner.learn(0)
    return Checkpoint.objects.order_by("step")[1]  # after the first step


def positions_of_step(number):
    events = log.read_step(Step.objects.get(number=number))
    return [Position(int(xid), int(seq)) for xid, seq in zip(events.xid, events.seq, strict=True)]


def only_review():
    (review,) = Review.objects.all()
    return review


def test_a_freeze_and_a_thaw_are_written_down_with_the_digest(learned):
    operations.freeze(**WHY)
    review = only_review()
    assert (review.action, review.by, review.note, review.scope) == ("freeze", "shell:olga", "hit rate fell", "")
    assert review.before_digest == Learner.objects.get().checkpoint.digest
    operations.thaw(**WHY)
    assert Review.objects.count() == 2
    assert Learner.objects.get().state == "learning"


def test_a_pin_is_written_down(learned):
    operations.set_pinned(**WHY, checkpoint_id=learned.pk, is_pinned=True)
    assert only_review().subject == {"checkpoint": learned.pk, "is_pinned": True}
    assert Checkpoint.objects.get(pk=learned.pk).is_pinned


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (lambda learned: operations.thaw(**WHY), Conflict),
        (lambda learned: operations.freeze(**WHY, scope="sports"), Invalid),
        (lambda learned: operations.freeze(**WHY, scope="category:sports"), NotFound),
        (lambda learned: operations.thaw(**WHY, scope="category:sports"), Conflict),
        (lambda learned: operations.freeze(by="shell:olga", note=" "), Invalid),
        (lambda learned: operations.freeze(by="nobody", note="x"), Invalid),
        (lambda learned: operations.set_pinned(**WHY, checkpoint_id=learned.pk, is_pinned=False), Conflict),
        (lambda learned: operations.set_pinned(**WHY, checkpoint_id=0, is_pinned=True), NotFound),
        (lambda learned: operations.release(**WHY, finding_id=7), NotFound),
        (lambda learned: operations.release(**WHY, positions=[Position(1, 2**40)]), NotFound),
        (lambda learned: operations.release(**WHY), NotFound),
        (lambda learned: operations.revert(**WHY, checkpoint_id=learned.pk, mode="exclude"), Invalid),
        (lambda learned: operations.revert(**WHY, checkpoint_id=0, mode="drop"), NotFound),
    ],
)
def test_what_the_mechanism_refuses_is_not_written_down(refused, error, learned, settings):
    settings.ALERT_WEBHOOK_URL = "https://hooks.example/x"
    row = Learner.objects.values().get()
    with pytest.raises(error):
        refused(learned)
    assert Learner.objects.values().get() == row
    for table in (Review, Notification, Decision, Revert, AskedRevert, Exclusion):
        assert not table.objects.exists()


@pytest.mark.parametrize(
    "exclude",
    [
        Exclude(networks=["192.0.2.0/16"]),
        Exclude(networks=["x"]),
        Exclude(items=[("a", 5, 5)]),
        Exclude(networks=["192.0.2.0/24"] * 1001),
    ],
)
def test_an_exclusion_that_excludes_nothing_is_refused(exclude, learned):
    with pytest.raises(Invalid):
        operations.revert(**WHY, checkpoint_id=learned.pk, mode="exclude", exclude=exclude)
    assert not Review.objects.exists()


def test_what_cannot_be_written_down_is_not_done(learned, monkeypatch):
    monkeypatch.setattr(notify, "notify", lambda **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        operations.freeze(**WHY)
    assert Learner.objects.get().state == "learning"
    assert not Review.objects.exists()


def test_a_freeze_is_told_at_once(learned, settings):
    settings.ALERT_WEBHOOK_URL = "https://hooks.example/x"
    operations.freeze(**WHY)
    told = Notification.objects.get()
    assert (told.kind, told.is_urgent) == ("freeze", True)
    assert told.payload["review"]["id"] == only_review().pk


def at_once(*calls):
    """Run calls in threads of their own, with real transactions; what each gave or raised."""
    barrier, outcomes = threading.Barrier(len(calls)), []

    def run(call):
        try:
            barrier.wait()
            outcomes.append(call())
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


def test_of_two_operators_one_does_it_and_one_is_told(learned):
    outcomes = at_once(*[lambda: operations.freeze(**WHY)] * 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "Review"]
    assert only_review().action == "freeze"


def test_of_two_reverts_one_is_asked_for(learned):
    ask = {"checkpoint_id": learned.pk, "mode": "replay"}
    outcomes = at_once(*[lambda: operations.revert(**WHY, **ask)] * 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "Revert"]
    assert only_review().subject["revert"] == Revert.objects.get().pk


def finding_of(positions):
    rows = [(each.xid, each.seq) for each in positions]
    finding = Finding.objects.create(
        title="x", item="mal's", first_ms=10**12, last_ms=2 * 10**12, is_stale=False, n_events=len(rows)
    )
    for xid, seq in rows:
        finding.events.create(shard=0, xid=xid, seq=seq, received_ms=10**12)
    return finding


def test_of_two_who_decide_on_a_finding_one_does(learned):
    finding = finding_of(positions_of_step(2))
    outcomes = at_once(*[lambda: operations.confirm(**WHY, finding_id=finding.pk)] * 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "int"]
    entry = Decision.objects.get()
    assert only_review().subject == {"finding": finding.pk, "was": "open", "events": 20, "entries": [entry.pk]}


def test_events_are_decided_on_by_their_places(learned):
    assert operations.confirm(**WHY, positions=positions_of_step(2)[:5]) == 5
    assert only_review().subject == {"events": 5, "entries": [Decision.objects.get().pk]}
    learner.learn(0)
    assert warm().trend.contributions("mal's").size == 15


def test_a_large_finding_is_decided_in_parts(learned, monkeypatch):
    monkeypatch.setattr(control, "MAX_DECIDED", 8)
    assert operations.confirm(**WHY, finding_id=finding_of(positions_of_step(2)).pk) == 20
    assert Decision.objects.count() == 3
    assert Review.objects.count() == 1


def test_a_revert_has_two_reviews(learned):
    window = ("mal's", 0, 2**50)
    asked = operations.revert(**WHY, checkpoint_id=learned.pk, mode="exclude", exclude=Exclude(items=[window]))
    assert operations.close_reverts() == 0
    first = only_review()
    assert first.subject["state"] == "queued"
    assert first.subject["excluded"] == {"actors": 0, "networks": 0, "items": 1, "findings": []}
    assert reverts.run_next()
    learner.learn(0)
    assert operations.close_reverts() == 1
    assert operations.close_reverts() == 0
    _, second = Review.objects.order_by("id")
    assert (second.by, second.note, second.before_digest) == ("shell:olga", "hit rate fell", first.before_digest)
    assert second.subject["revert"] == asked.pk
    assert (second.subject["state"], second.subject["excluded"], second.subject["leaves"]) == ("done", 20, 1)
    assert second.after_digest == warm().digest()


def test_a_revert_is_closed_once_by_two_who_try(learned):
    operations.revert(**WHY, checkpoint_id=learned.pk, mode="replay")
    reverts.run_next()
    assert sum(at_once(*[operations.close_reverts] * 3)) == 1
    assert Review.objects.count() == 2


def test_a_failed_revert_is_written_down_and_told(learned, settings):
    settings.ALERT_EMAILS = ["olga@example.org"]
    asked = operations.revert(**WHY, checkpoint_id=learned.pk, mode="replay")
    Step.objects.filter(number=2).delete()
    assert reverts.run_next()
    operations.close_reverts()
    second = Review.objects.order_by("id").last()
    assert second.subject["state"] == "failed"
    assert "not all of the steps" in second.subject["error"]
    assert second.after_digest == ""
    assert Notification.objects.filter(is_urgent=True, title=f"Revert {asked.pk} (replay) is failed.").exists()


def test_a_revert_that_nobody_asked_for_here_is_policys(learned):
    control.ask_for_revert(checkpoint_id=learned.pk, mode="drop", exclusion=None, is_preview=False)
    reverts.run_next()
    assert operations.close_reverts() == 1
    assert only_review().by == "policy"


def test_whoever_was_renamed_meanwhile_leaves_the_outcome_to_policy(learned):
    get_user_model().objects.create_user("olga")
    operations.revert(by="olga", note="x", checkpoint_id=learned.pk, mode="replay")
    get_user_model().objects.update(username="olga-2")
    reverts.run_next()
    operations.close_reverts()
    assert [review.by for review in Review.objects.order_by("id")] == ["olga", "policy"]


def test_a_preview_has_one_review_and_no_outcome_in_it(learned):
    operations.revert(**WHY, checkpoint_id=learned.pk, mode="drop", is_preview=True)
    reverts.run_next()
    assert operations.close_reverts() == 0
    assert only_review().subject["preview"] is True


def test_an_excluded_finding_takes_its_actors_out():
    write(push(site(), "target", 100))
    learn_all()
    findings.gather()
    finding = Finding.objects.get(item="target")
    start = Checkpoint.objects.order_by("step").first()
    operations.revert(
        **WHY, checkpoint_id=start.pk, mode="exclude", exclude=Exclude(findings=[finding.pk]), is_preview=True
    )
    reverts.run_next()
    assert Revert.objects.get().outcome["excluded"] == 100
    review = only_review()
    assert review.subject["excluded"] == {"actors": 100, "networks": 0, "items": 0, "findings": [finding.pk]}
    assert "mal-" not in str(review.subject)


def test_an_alarm_is_settled_without_a_decision(learned):
    finding = Finding.objects.create(kind="drift", title="x", first_ms=1, last_ms=1, is_stale=False)
    assert operations.release(**WHY, finding_id=finding.pk) == 0
    assert Finding.objects.get().state == "released"
    assert not Decision.objects.exists()


def test_a_list_alone_is_frozen_and_thawed(learned):
    Item.objects.create(id="story", categories=["sports"])
    learner.learn(0)
    operations.freeze(**WHY, scope="category:sports")
    assert Learner.objects.get().state == Learner.State.LEARNING
    operations.thaw(**WHY, scope="category:sports")
    assert [(each.action, each.scope) for each in Review.objects.order_by("id")] == [
        ("freeze", "category:sports"),
        ("thaw", "category:sports"),
    ]
