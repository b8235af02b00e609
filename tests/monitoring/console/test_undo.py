"""Undo is exact until a step has taken the decision, then it gives verdicts back."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from monitoring import roles
from monitoring.audit import reviews
from monitoring.findings import collect_findings
from monitoring.models import Finding, Review
from monitoring.operations import decide_finding, undo_decision
from recommender.control import learning_switch, reverts
from recommender.core.vocabulary import Verdict
from recommender.errors import Conflict, NotFound
from recommender.learning import fresh_fold, learner
from recommender.learning.warm_pipeline import LearnerMoved
from recommender.log import event_log
from recommender.models import Checkpoint, Decision, EventVerdict, Learner
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.made_findings import alarm
from tests.monitoring.console.test_pages import signed_in

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


@pytest.fixture
def rita():
    return reviewer("rita")


def reviewer(name):
    get_user_model().objects.create_user(name)
    roles.assign(username=name, role="reviewer", by="policy")
    return get_user_model().objects.get(username=name)


@pytest.fixture
def target():
    """Return the finding of an attack that was stopped."""
    write(push(site(), "target", 120))
    learn_all()
    learner.learn(0)
    collect_findings.gather()
    return Finding.objects.get(item="target")


@pytest.fixture
def counted():
    """Make a finding of twenty honest clicks that count, next to some others."""
    for batch in (clicks(20, item="story"), clicks(9, start=30, item="other")):
        event_log.append(batch)
        learner.learn(0)
    rows = event_log.read_step(learner.Step.objects.get(number=1))
    finding = Finding.objects.create(
        title="x", item="story", first_ms=int(rows.received_ms[0]), last_ms=2**42, is_stale=False, n_events=20
    )
    for xid, seq in zip(rows.xid.tolist(), rows.seq.tolist(), strict=True):
        finding.events.create(shard=0, xid=xid, seq=seq, received_ms=finding.first_ms)
    return finding


def board():
    learner.learn(0)
    shown = warm().board(200)
    return list(zip(shown.items, shown.scores.tolist(), strict=True))


def words():
    """Return the verdict on each event that has one, by its position."""
    return dict(EventVerdict.objects.values_list("seq", "verdict"))


def undo_last(user):
    return [undo_decision.undo(by=user, review_id=number) for number in undo_decision.last(user).reviews]


@pytest.mark.parametrize("ruling", [decide_finding.release, decide_finding.confirm])
def test_what_no_step_has_taken_was_never_decided(target, rita, ruling):
    learner.learn(0)
    before = board(), warm().digest(), words(), Finding.objects.values().get(pk=target.pk)
    learning_switch.freeze()
    ruling(by=rita, note="too quick", finding_id=target.pk)
    (undone,) = undo_last(rita)
    assert (undone.action, undone.subject["given_back"]) == ("undo", 0)
    assert undone.subject["withdrawn"] == target.n_events
    assert not Decision.objects.exists()
    learning_switch.thaw()
    restart()
    after = Finding.objects.values().get(pk=target.pk)
    assert (board(), warm().digest(), words()) == before[:3]
    assert {name for name in after if after[name] != before[3][name]} == {"is_stale", "updated_at"}


def test_a_confirm_that_was_taken_gives_the_list_back(counted, rita):
    before = board()
    decide_finding.confirm(by=rita, note="too quick", finding_id=counted.pk)
    assert "story" not in [item for item, _ in board()]
    (undone,) = undo_last(rita)
    assert (undone.subject["withdrawn"], undone.subject["given_back"]) == (0, 20)
    assert board() == before
    assert set(words().values()) == {Verdict.ADMIT}
    counted.refresh_from_db()
    assert (counted.state, counted.decided_at) == ("open", None)


def test_a_glance_names_actors_to_who_may_decide_alone(target, rita):
    get_user_model().objects.create_user("vera")
    roles.assign(username="vera", role="viewer", by="policy")
    address = reverse("console:glance", args=[target.pk])
    for user, is_named in ((rita, True), (get_user_model().objects.get(username="vera"), False)):
        shown = signed_in(user).get(address).content.decode()
        assert "acted only once" in shown
        assert ("mal-" in shown) is is_named


def test_a_release_that_was_taken_takes_the_fakes_out_again(target, rita):
    before, said = board(), words()
    n_stopped = sum(verdict != 0 for seq, verdict in said.items())
    decide_finding.release(by=rita, note="too quick", finding_id=target.pk)
    released = dict(board())
    assert released["target"] > dict(before).get("target", 0)
    (undone,) = undo_last(rita)
    assert board() == before
    assert words() == said
    assert undone.subject["given_back"] == target.n_events <= n_stopped
    assert not EventVerdict.objects.filter(reasons__gte=16_384, reasons__lt=32_768).exists()  # no one was confirmed
    collect_findings.gather()
    target.refresh_from_db()
    assert (target.state, target.n_quarantined) == ("open", target.n_events)


def test_an_undone_confirm_says_no_longer_that_somebody_confirmed(target, rita):
    decide_finding.confirm(by=rita, note="too quick", finding_id=target.pk)
    said = board()
    collect_findings.gather()
    target.refresh_from_db()
    assert target.reasons & 16_384
    undo_last(rita)
    assert board() == said
    collect_findings.gather()
    target.refresh_from_db()
    assert not target.reasons & 16_384
    assert target.state == "open"


def test_a_learner_begun_anew_folds_the_undo_to_the_same_state(target, rita):
    decide_finding.release(by=rita, note="too quick", finding_id=target.pk)
    learner.learn(0)
    undo_last(rita)
    learner.learn(0)
    checkpoint = Learner.objects.get().checkpoint
    assert fresh_fold.verify(checkpoint) == checkpoint.digest == warm().digest()


def test_a_step_that_has_the_decision_in_hand_begins_again(counted, rita, monkeypatch):
    """Withdraw a decision that the learner has read, before the step commits."""
    before, digest = board(), warm().digest()
    decide_finding.confirm(by=rita, note="too quick", finding_id=counted.pk)
    take_step = learner.take_step

    def after_an_undo(*args):
        undo_last(rita)
        return take_step(*args)

    with monkeypatch.context() as patched:
        patched.setattr(learner, "take_step", after_an_undo)
        with pytest.raises(LearnerMoved, match="withdrawn"):
            learner.learn(0)
    assert board() == before
    assert warm().digest() == digest


def test_what_went_back_behind_the_decision_is_not_undone(counted, rita):
    start = Checkpoint.objects.order_by("step").first()
    decide_finding.confirm(by=rita, note="too quick", finding_id=counted.pk)
    learner.learn(0)
    learning_switch.ask_for_revert(checkpoint_id=start.pk, mode="drop", exclusion=None, is_preview=False)
    assert reverts.run_next()
    with pytest.raises(Conflict, match="A revert has removed"):
        undo_last(rita)
    assert Finding.objects.get().state == "confirmed"
    assert Decision.objects.count() == 1


def test_events_of_no_history_are_left_alone_by_an_undo(counted, rita):
    """Undo a confirm after its actors were excluded. It must not learn their events."""
    start = Checkpoint.objects.order_by("step").first()
    exclusion = learning_switch.exclusion(actors=[f"actor-{n}" for n in range(20)])
    learning_switch.ask_for_revert(checkpoint_id=start.pk, mode="exclude", exclusion=exclusion, is_preview=False)
    assert reverts.run_next()
    before = board()
    decide_finding.confirm(by=rita, note="too quick", finding_id=counted.pk)
    learner.learn(0)
    (undone,) = undo_last(rita)
    assert undone.subject["given_back"] == 0
    assert board() == before


def test_only_the_last_word_of_ones_own_is_undone(rita):
    first, second, third = alarm(), alarm(), alarm()
    for finding in (first, second, third):
        decide_finding.release(by=rita, note="x", finding_id=finding.pk)
    decide_finding.confirm(by="policy", note="no", finding_id=third.pk)  # someone else decided last
    of_third = Review.objects.get(action="release", subject__finding=third.pk)
    with pytest.raises(Conflict, match="was decided on again"):
        undo_decision.undo(by=rita, review_id=of_third.pk)
    assert undo_decision.last(rita).findings == [second.pk]
    (undone,) = undo_last(rita)
    assert undone.note == f"Undo of review {undone.subject['undo_of']}: release finding {second.pk}."
    with pytest.raises(Conflict):
        undo_decision.undo(by=rita, review_id=undone.subject["undo_of"])
    assert undo_decision.last(rita).findings == [first.pk]
    otto = reviewer("otto")
    assert undo_decision.last(otto) is None
    of_first = Review.objects.get(action="release", subject__finding=first.pk)
    with pytest.raises(NotFound):
        undo_decision.undo(by=otto, review_id=of_first.pk)
    with pytest.raises(NotFound):
        undo_decision.undo(by=rita, review_id=undone.pk)
    assert reviews.verify_chain().is_intact


def test_after_ten_minutes_it_stands(rita, monkeypatch):
    finding = alarm()
    decide_finding.release(by=rita, note="x", finding_id=finding.pk)
    number = Review.objects.latest("id").pk
    monkeypatch.setattr(undo_decision, "WITHIN", timedelta(0))
    assert undo_decision.last(rita) is None
    with pytest.raises(Conflict, match="older"):
        undo_decision.undo(by=rita, review_id=number)
    assert Finding.objects.get().state == "released"


def test_one_after_the_other_is_undone_newest_first(rita):
    finding = alarm()
    decide_finding.confirm(by=rita, note="x", finding_id=finding.pk)
    decide_finding.release(by=rita, note="y", finding_id=finding.pk)
    undo_last(rita)
    assert Finding.objects.get().state == "confirmed"
    undo_last(rita)
    assert Finding.objects.get().state == "open"
    assert undo_decision.last(rita) is None


def test_what_one_form_decided_is_undone_by_one_button(rita):
    client, chosen = signed_in(rita), [alarm().pk for _ in range(3)]
    client.post(reverse("console:decide"), {"ruling": "confirm", "finding": chosen, "note": "too quick"})
    undoable = undo_decision.last(rita)
    assert sorted(undoable.findings) == chosen
    decide_finding.release(by="policy", note="meanwhile", finding_id=chosen[0])
    answer = client.post(
        reverse("console:undo"), {"review": undoable.reviews, "next": reverse("console:queue")}, follow=True
    )
    shown = answer.content.decode()
    assert "Undone: 2 findings as before the decision." in shown
    assert "Not changed: 1 finding." in shown
    assert list(Finding.objects.order_by("id").values_list("state", flat=True)) == ["released", "open", "open"]
    assert Review.objects.filter(action="undo").count() == 2
