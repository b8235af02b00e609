"""A decision and its record happen together and once, or neither happens."""

import pytest

from monitoring.alerts import outbox
from monitoring.models import AskedRevert, Finding, Notification, Review
from monitoring.operations import decide_finding, request_revert, stop_switch
from recommender.control import learning_switch
from recommender.core.trend import count_breakdowns
from recommender.errors import Conflict, Invalid, NotFound
from recommender.learning import learner
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Decision, Exclusion, Item, Learner, Revert, Step
from tests.help.learner_process import warm
from tests.help.written_decisions import WHY, at_once, only_review

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


def positions_of_step(number):
    events = event_log.read_step(Step.objects.get(number=number))
    return [Position(int(xid), int(seq)) for xid, seq in zip(events.xid, events.seq, strict=True)]


def test_a_freeze_and_a_thaw_are_written_down_with_the_digest(learned):
    stop_switch.freeze(**WHY)
    review = only_review()
    assert (review.action, review.by, review.note, review.scope) == ("freeze", "shell:olga", "hit rate fell", "")
    assert review.before_digest == Learner.objects.get().checkpoint.digest
    stop_switch.thaw(**WHY)
    assert Review.objects.count() == 2
    assert Learner.objects.get().state == "learning"


def test_a_pin_is_written_down(learned):
    stop_switch.set_pinned(**WHY, checkpoint_id=learned.pk, is_pinned=True)
    assert only_review().subject == {"checkpoint": learned.pk, "is_pinned": True}
    assert Checkpoint.objects.get(pk=learned.pk).is_pinned


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (lambda learned: stop_switch.thaw(**WHY), Conflict),
        (lambda learned: stop_switch.freeze(**WHY, scope="sports"), Invalid),
        (lambda learned: stop_switch.freeze(**WHY, scope="category:sports"), NotFound),
        (lambda learned: stop_switch.thaw(**WHY, scope="category:sports"), Conflict),
        (lambda learned: stop_switch.freeze(by="shell:olga", note=" "), Invalid),
        (lambda learned: stop_switch.freeze(by="nobody", note="x"), Invalid),
        (lambda learned: stop_switch.set_pinned(**WHY, checkpoint_id=learned.pk, is_pinned=False), Conflict),
        (lambda learned: stop_switch.set_pinned(**WHY, checkpoint_id=0, is_pinned=True), NotFound),
        (lambda learned: decide_finding.release(**WHY, finding_id=7), NotFound),
        (lambda learned: decide_finding.release(**WHY, positions=[Position(1, 2**40)]), NotFound),
        (lambda learned: decide_finding.release(**WHY), NotFound),
        (lambda learned: request_revert.revert(**WHY, checkpoint_id=learned.pk, mode="exclude"), Invalid),
        (lambda learned: request_revert.revert(**WHY, checkpoint_id=0, mode="drop"), NotFound),
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


def test_what_cannot_be_written_down_is_not_done(learned, monkeypatch):
    monkeypatch.setattr(outbox, "notify", lambda **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stop_switch.freeze(**WHY)
    assert Learner.objects.get().state == "learning"
    assert not Review.objects.exists()


def test_a_freeze_is_told_at_once(learned, settings):
    settings.ALERT_WEBHOOK_URL = "https://hooks.example/x"
    stop_switch.freeze(**WHY)
    told = Notification.objects.get()
    assert (told.kind, told.is_urgent) == ("freeze", True)
    assert told.payload["review"]["id"] == only_review().pk


def test_of_two_operators_one_does_it_and_one_is_told(learned):
    outcomes = at_once(*[lambda: stop_switch.freeze(**WHY)] * 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "Review"]
    assert only_review().action == "freeze"


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
    outcomes = at_once(*[lambda: decide_finding.confirm(**WHY, finding_id=finding.pk)] * 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "int"]
    entry = Decision.objects.get()
    assert only_review().subject == {"finding": finding.pk, "was": "open", "events": 20, "entries": [entry.pk]}


def test_events_are_decided_on_by_their_places(learned):
    assert decide_finding.confirm(**WHY, positions=positions_of_step(2)[:5]) == 5
    assert only_review().subject == {"events": 5, "entries": [Decision.objects.get().pk]}
    learner.learn(0)
    assert count_breakdowns.contributions(warm().trend, "mal's").size == 15


def test_a_large_finding_is_decided_in_parts(learned, monkeypatch):
    monkeypatch.setattr(learning_switch, "MAX_DECIDED", 8)
    assert decide_finding.confirm(**WHY, finding_id=finding_of(positions_of_step(2)).pk) == 20
    assert Decision.objects.count() == 3
    assert Review.objects.count() == 1


def test_an_alarm_is_settled_without_a_decision(learned):
    finding = Finding.objects.create(kind="drift", title="x", first_ms=1, last_ms=1, is_stale=False)
    assert decide_finding.release(**WHY, finding_id=finding.pk) == 0
    assert Finding.objects.get().state == "released"
    assert not Decision.objects.exists()


def test_a_list_alone_is_frozen_and_thawed(learned):
    Item.objects.create(id="story", categories=["sports"])
    learner.learn(0)
    stop_switch.freeze(**WHY, scope="category:sports")
    assert Learner.objects.get().state == Learner.State.LEARNING
    stop_switch.thaw(**WHY, scope="category:sports")
    assert [(each.action, each.scope) for each in Review.objects.order_by("id")] == [
        ("freeze", "category:sports"),
        ("thaw", "category:sports"),
    ]
