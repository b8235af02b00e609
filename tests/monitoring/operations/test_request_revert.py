"""A revert is requested once, and its outcome is recorded once."""

import pytest
from django.contrib.auth import get_user_model

from monitoring.findings import collect_findings
from monitoring.models import Finding, Notification, Review
from monitoring.operations import request_revert
from monitoring.operations.request_revert import Exclude
from recommender.control import learning_switch, reverts
from recommender.errors import Invalid
from recommender.learning import learner
from recommender.models import Checkpoint, Revert, Step
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.learner_process import warm
from tests.help.written_decisions import WHY, at_once, only_review

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


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
        request_revert.revert(**WHY, checkpoint_id=learned.pk, mode="exclude", exclude=exclude)
    assert not Review.objects.exists()


def test_of_two_reverts_one_is_asked_for(learned):
    ask = {"checkpoint_id": learned.pk, "mode": "replay"}
    outcomes = at_once(*[lambda: request_revert.revert(**WHY, **ask)] * 2)
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "Revert"]
    assert only_review().subject["revert"] == Revert.objects.get().pk


def test_a_revert_has_two_reviews(learned):
    window = ("mal's", 0, 2**50)
    asked = request_revert.revert(**WHY, checkpoint_id=learned.pk, mode="exclude", exclude=Exclude(items=[window]))
    assert request_revert.close_reverts() == 0
    first = only_review()
    assert first.subject["state"] == "queued"
    assert first.subject["excluded"] == {"actors": 0, "networks": 0, "items": 1, "findings": []}
    assert reverts.run_next()
    learner.learn(0)
    assert request_revert.close_reverts() == 1
    assert request_revert.close_reverts() == 0
    _, second = Review.objects.order_by("id")
    assert (second.by, second.note, second.before_digest) == ("shell:olga", "hit rate fell", first.before_digest)
    assert second.subject["revert"] == asked.pk
    assert (second.subject["state"], second.subject["excluded"], second.subject["leaves"]) == ("done", 20, 1)
    assert second.after_digest == warm().digest()


def test_a_revert_is_closed_once_by_two_who_try(learned):
    request_revert.revert(**WHY, checkpoint_id=learned.pk, mode="replay")
    reverts.run_next()
    assert sum(at_once(*[request_revert.close_reverts] * 3)) == 1
    assert Review.objects.count() == 2


def test_a_failed_revert_is_written_down_and_told(learned, settings):
    settings.ALERT_EMAILS = ["olga@example.org"]
    asked = request_revert.revert(**WHY, checkpoint_id=learned.pk, mode="replay")
    Step.objects.filter(number=2).delete()
    assert reverts.run_next()
    request_revert.close_reverts()
    second = Review.objects.order_by("id").last()
    assert second.subject["state"] == "failed"
    assert "not all of the steps" in second.subject["error"]
    assert second.after_digest == ""
    assert Notification.objects.filter(is_urgent=True, title=f"Revert {asked.pk} (replay) is failed.").exists()


def test_a_revert_that_nobody_asked_for_here_is_policys(learned):
    learning_switch.ask_for_revert(checkpoint_id=learned.pk, mode="drop", exclusion=None, is_preview=False)
    reverts.run_next()
    assert request_revert.close_reverts() == 1
    assert only_review().by == "policy"


def test_whoever_was_renamed_meanwhile_leaves_the_outcome_to_policy(learned):
    get_user_model().objects.create_user("olga")
    request_revert.revert(by="olga", note="x", checkpoint_id=learned.pk, mode="replay")
    get_user_model().objects.update(username="olga-2")
    reverts.run_next()
    request_revert.close_reverts()
    assert [review.by for review in Review.objects.order_by("id")] == ["olga", "policy"]


def test_a_preview_has_one_review_and_no_outcome_in_it(learned):
    request_revert.revert(**WHY, checkpoint_id=learned.pk, mode="drop", is_preview=True)
    reverts.run_next()
    assert request_revert.close_reverts() == 0
    assert only_review().subject["preview"] is True


def test_an_excluded_finding_takes_its_actors_out():
    write(push(site(), "target", 100))
    learn_all()
    collect_findings.gather()
    finding = Finding.objects.get(item="target")
    start = Checkpoint.objects.order_by("step").first()
    request_revert.revert(
        **WHY, checkpoint_id=start.pk, mode="exclude", exclude=Exclude(findings=[finding.pk]), is_preview=True
    )
    reverts.run_next()
    assert Revert.objects.get().outcome["excluded"] == 100
    review = only_review()
    assert review.subject["excluded"] == {"actors": 100, "networks": 0, "items": 0, "findings": [finding.pk]}
    assert "mal-" not in str(review.subject)
