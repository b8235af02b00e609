"""The policy freezes in the step of an alarm, within a budget, records, and thaws."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.audit import reviews
from monitoring.models import AutoFreeze, Finding, Review
from monitoring.operations import decide_finding, stop_switch
from monitoring.policy import enforcement
from recommender.control import learning_switch, reverts
from recommender.core.pipeline import Pipeline
from recommender.core.quality.drift import Alarm, Level
from recommender.errors import Conflict
from recommender.learning import learner, quality_log
from recommender.log import event_log
from recommender.log.event_log import NewEvents
from recommender.models import Learner, Revert, Step, Watched
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process", "wall"),
]


@pytest.fixture(autouse=True)
def _asked_after_every_step(settings, fresh_process):
    settings.AFTER_STEP = "monitoring.policy.after_step"
    settings.WATCH_EVERY_S = 0.0


@pytest.fixture
def falling(monkeypatch):
    """Let the next steps raise a stop, which is confirmed or not."""
    step = Pipeline.step

    def raise_it(level=Level.STOP, *, confirmed=True):
        def falls(self, *batch):
            before_ms = self.stream_ms
            return replace(step(self, *batch), alarm=Alarm(level, before_ms + 1))

        monkeypatch.setattr(enforcement, "decide", with_normal(enforcement.decide, confirmed))
        monkeypatch.setattr(Pipeline, "step", falls)

    return raise_it


def with_normal(decide, confirmed):
    class Usual:
        def usual(self, name, before_ms, *, since_ms=0, share=0.99):
            is_asked = confirmed and since_ms and name == "low_trust_share"
            return -1.0 if is_asked else 1e9 if share > 0.5 else None

    return lambda signals, state, rules, normal: decide(signals, state, rules, Usual())


def learned(batch):
    event_log.append(batch)
    return learner.learn(0)


def merged(*batches):
    return NewEvents(**{f.name: [x for batch in batches for x in getattr(batch, f.name)] for f in fields(NewEvents)})


def actions():
    return [(row.action, row.by) for row in reversed(reviews.list_reviews())]


def test_a_step_whose_alarm_says_stop_is_the_last_one_learned(falling):
    learned(clicks(20))
    falling()
    learned(clicks(20, start=20))
    row, freeze = Learner.objects.get(), AutoFreeze.objects.get()
    assert (row.state, row.step, freeze.step, freeze.frozen_at) == ("frozen", 2, 2, row.frozen_at)
    assert learned(clicks(20, start=40)) == 0
    assert (Review.Action.FREEZE, "policy") in actions()
    assert Finding.objects.get().kind == Finding.Kind.DRIFT
    assert reviews.verify_chain().is_intact


def test_without_a_second_signal_it_only_tells(falling):
    falling(confirmed=False)
    learned(clicks(20))
    assert Learner.objects.get().state == "learning"
    assert [each for each in actions() if each[0] == "alarm"]


def test_it_ends_when_its_time_is_over(falling):
    falling()
    learned(clicks(20))
    enforcement.follow_up(0)
    assert Learner.objects.get().state == "frozen"
    AutoFreeze.objects.update(until=timezone.now())
    enforcement.follow_up(0)
    enforcement.follow_up(0)
    assert Learner.objects.get().state == "learning"
    assert AutoFreeze.objects.get().ended_by == "policy"
    assert [action for action, _ in actions() if action == "thaw"] == ["thaw"]


def test_an_alarm_that_goes_on_is_one_finding(falling):
    falling(confirmed=False)
    for start in (0, 20, 40):
        learned(clicks(20, start=start))
    finding = Finding.objects.get()
    assert (finding.kind, finding.state, finding.shard) == ("drift", "open", 0)
    assert finding.last_ms == Learner.objects.get().stream_ms
    decide_finding.confirm(by="shell:olga", note="It was so.", finding_id=finding.pk)
    learned(clicks(20, start=60))
    assert sorted(Finding.objects.values_list("state", flat=True)) == ["confirmed", "open"]


def test_a_person_who_thaws_has_settled_the_alarm(falling):
    falling()
    learned(clicks(20))
    stop_switch.thaw(by="shell:olga", note="I looked into it.")
    assert Finding.objects.get().state == "released"
    assert Review.objects.latest("id").subject["alarms_settled"] == 1


def test_an_alarm_whose_freeze_only_ran_out_waits_for_a_person(falling):
    falling()
    learned(clicks(20))
    AutoFreeze.objects.update(until=timezone.now())
    enforcement.follow_up(0)
    assert Learner.objects.get().state == "learning"
    assert Finding.objects.get().state == "open"


def test_what_a_person_took_on_is_not_thawed(falling):
    falling()
    learned(clicks(20))
    stop_switch.freeze(by="shell:olga", note="I look into it.")
    AutoFreeze.objects.update(until=timezone.now())
    enforcement.follow_up(0)
    assert Learner.objects.get().state == "frozen"


def test_what_was_taken_on_is_taken_on_once(falling):
    falling()
    learned(clicks(20))
    stop_switch.freeze(by="shell:olga", note="I look into it.")
    with pytest.raises(Conflict):
        stop_switch.freeze(by="shell:otto", note="I do, too.")


def test_what_a_person_thawed_and_froze_again_is_not_thawed(falling):
    falling()
    learned(clicks(20))
    learning_switch.thaw()
    learning_switch.freeze()
    AutoFreeze.objects.update(until=timezone.now())
    enforcement.follow_up(0)
    assert Learner.objects.get().state == "frozen"
    assert AutoFreeze.objects.get().ended_by == "person"


def test_the_seconds_of_an_hour_are_counted():
    now = timezone.now()
    for minutes, seconds in ((90, 3000), (40, 10), (5, 7)):
        start = now - timedelta(minutes=minutes)
        end = start + timedelta(seconds=seconds)
        AutoFreeze.objects.create(
            shard=0, frozen_at=start, until=end, ended_at=end, step=1, n_reverts=0, changed_ms=0, reason="noise"
        )
    seconds, n_freezes = enforcement.spent(0)
    assert seconds == pytest.approx(1200 + 17, abs=2)
    assert n_freezes == 3
    assert enforcement.spent(1) == (0, 0)


def test_a_spent_budget_freezes_nothing(falling):
    learned(clicks(20))
    falling()
    end = timezone.now()
    AutoFreeze.objects.create(
        shard=0,
        frozen_at=end - timedelta(seconds=29),
        until=end,
        ended_at=end,
        step=1,
        n_reverts=0,
        changed_ms=0,
        reason="noise",
    )
    learned(clicks(20, start=20))
    assert Learner.objects.get().state == "learning"
    assert "budget" in Review.objects.latest("id").note


def test_the_same_alarm_is_not_raised_again_at_once(falling):
    falling(Level.ALERT)
    learned(clicks(20))
    learned(clicks(20, start=20))
    assert [action for action, _ in actions()] == ["alarm"]


def test_a_way_back_is_proposed_once_with_the_suspects(falling):
    learned(clicks(20))
    falling()
    learned(clicks(20, start=20, item="mal's"))
    enforcement.follow_up(0)
    enforcement.follow_up(0)
    freeze = AutoFreeze.objects.get()
    assert freeze.checkpoint_id == enforcement.revert_point(0, freeze.changed_ms).pk
    assert (freeze.n_suspects, freeze.n_suspected) == (20, 20)
    assert [action for action, _ in actions()] == ["freeze", "note"]


def test_it_reverts_by_itself_only_where_it_is_told_to(falling, settings):
    settings.AUTO_REVERT = True
    learned(clicks(20))
    falling()
    learned(merged(clicks(30, start=20), clicks(10, start=50, item="mal's")))
    enforcement.follow_up(0)
    assert Revert.objects.get().mode == "exclude"
    assert reverts.run_next()
    enforcement.follow_up(0)
    assert Learner.objects.get().state == "learning"
    learner.learn(0)
    assert learner.in_memory(0).pipeline.board(5).items == ["story"]
    assert Finding.objects.get().state == "expired"
    assert [action for action, _ in actions()] == ["freeze", "revert", "thaw"]


def test_a_monitor_that_fails_does_not_stop_learning(settings, monkeypatch):
    def fail(*args):
        Learner.objects.update(state="frozen")
        raise RuntimeError("the monitor is broken")

    monkeypatch.setattr(enforcement, "after_step", fail)
    assert learned(clicks(20)) == 20
    assert Learner.objects.get().state == "learning"


def test_nobody_is_asked_where_nobody_is_named(settings, falling):
    settings.AFTER_STEP = ""
    falling()
    learned(clicks(20))
    assert Learner.objects.get().state == "learning"
    assert not Review.objects.exists()


def test_steps_and_figures_are_written_down():
    learned(clicks(20))
    step, watched = Step.objects.get(), Watched.objects.get()
    assert (step.alarm, step.changed_ms, step.n_trusted) == (0, None, 0)
    assert step.n_canary <= step.n_predicted
    assert (watched.step, watched.stream_ms) == (1, step.stream_ms)


def test_old_figures_are_thinned():
    learned(clicks(20))
    row = Watched.objects.values().get()
    del row["id"]
    Watched.objects.bulk_create(Watched(**row | {"step": number}) for number in range(2, 102))
    Watched.objects.filter(step__gte=2).update(at=timezone.now() - timedelta(hours=2))
    quality_log.thin()
    assert Watched.objects.count() == 2
