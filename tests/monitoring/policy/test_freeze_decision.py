"""Decisions when quality falls: two signals, a budget, and people first."""

from dataclasses import replace

import pytest

from monitoring.policy.freeze_decision import FreezeRules, FreezeState, Normal, Panel, Rate, Signals, decide
from recommender.core.quality.drift import Level
from recommender.core.vocabulary import MINUTE_MS

CALM = {
    "low_trust_share": 0.3,
    "pressure": 1.0,
    "quarantine_share": 0.0,
    "held_share": 0.01,
    "top_share": 0.2,
    "least_trust": 5.0,
}
NOW_MS = 100 * MINUTE_MS
STOP = Signals(Level.STOP, NOW_MS - 5000, NOW_MS, CALM)
ODD = replace(STOP, figures=CALM | {"low_trust_share": 0.9})


@pytest.fixture
def normal():
    normal = Normal()
    for minute in range(99):
        normal.add(minute * MINUTE_MS, CALM)
    return normal


def test_one_signal_alone_raises_an_alarm_and_freezes_nothing(normal):
    action = decide(STOP, FreezeState(), FreezeRules(), normal)
    assert action.freeze_s == 0
    assert [(alarm.signal, alarm.is_urgent) for alarm in action.alarms] == [("drift stop", True)]


@pytest.mark.parametrize("figures", [{"low_trust_share": 0.9}, {"pressure": 3.0}, {"quarantine_share": 0.2}])
def test_two_signals_freeze_for_less_than_the_budget(normal, figures):
    action = decide(replace(STOP, figures=CALM | figures), FreezeState(), FreezeRules(), normal)
    assert 0 < action.freeze_s < 30
    assert "usually" in action.reason


def test_an_odd_figure_without_a_stop_freezes_nothing(normal):
    action = decide(replace(ODD, level=Level.NONE), FreezeState(), FreezeRules(), normal)
    assert action.freeze_s == 0
    assert [alarm.signal for alarm in action.alarms] == ["low_trust_share"]


def test_a_panel_that_falls_behind_the_others_confirms_and_one_that_falls_with_them_does_not(normal):
    before = (Rate(1000, 700), Rate(100_000, 70_000))
    alone = Panel(Rate(100, 40), Rate(10_000, 7000), *before)
    together = Panel(Rate(100, 40), Rate(10_000, 4000), *before)
    assert decide(replace(STOP, panel=alone), FreezeState(), FreezeRules(), normal).freeze_s
    assert not decide(replace(STOP, panel=together), FreezeState(), FreezeRules(), normal).freeze_s


def test_the_budget_is_never_passed(normal):
    for spent_s in (0.0, 10.0, 24.9, 28.0, 100.0):
        action = decide(ODD, FreezeState(spent_s=spent_s), FreezeRules(), normal)
        assert action.freeze_s == 0 or spent_s + action.freeze_s <= 30
    assert not decide(ODD, FreezeState(spent_s=26.0), FreezeRules(), normal).freeze_s


@pytest.mark.parametrize(
    "rules", [FreezeRules(auto_freeze=False), FreezeRules(budget_s=0), FreezeRules(freezes_a_day=2)]
)
def test_where_it_may_not_freeze_people_are_told_why(normal, rules):
    action = decide(ODD, FreezeState(n_freezes=2), rules, normal)
    assert action.freeze_s == 0
    assert "Learning is not frozen, because" in action.alarms[0].text


def test_nothing_is_unusual_where_little_is_known():
    assert not decide(ODD, FreezeState(), FreezeRules(), Normal()).freeze_s


def test_what_came_after_the_change_is_not_what_is_usual(normal):
    for minute in range(99, 120):
        normal.add(minute * MINUTE_MS, CALM | {"low_trust_share": 0.9})
    late = replace(ODD, changed_ms=98 * MINUTE_MS, stream_ms=120 * MINUTE_MS)
    assert decide(late, FreezeState(), FreezeRules(), normal).freeze_s


def test_a_person_s_freeze_is_never_thawed(normal):
    assert not decide(
        Signals(), FreezeState(is_frozen=True, is_repaired=True, is_over=True), FreezeRules(), normal
    ).is_thaw


@pytest.mark.parametrize(("over", "repaired", "thawed"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_our_freeze_ends_when_its_time_is_over_or_the_history_repaired(normal, over, repaired, thawed):
    ours = FreezeState(is_frozen=True, is_ours=True, is_over=bool(over), is_repaired=bool(repaired))
    assert decide(Signals(), ours, FreezeRules(), normal).is_thaw == thawed
    assert not decide(Signals(), ours, FreezeRules(auto_thaw=False), normal).is_thaw


def test_thin_margins_and_a_lagging_learner_are_alarms(normal):
    signals = replace(STOP, level=Level.NONE, figures=CALM | {"least_trust": 0.1}, lag_s=100.0)
    assert [alarm.signal for alarm in decide(signals, FreezeState(), FreezeRules(), normal).alarms] == [
        "least_trust",
        "lag",
    ]


def test_time_that_runs_back_adds_nothing(normal):
    normal.add(5 * MINUTE_MS, CALM | {"low_trust_share": 1.0})
    assert len(normal) == 99
