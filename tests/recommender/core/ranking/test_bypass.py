"""Test the contest: means by trust, cold start, bypass, return with hysteresis."""

import numpy as np
import pytest

from recommender.core.ranking.bypass import MODES, Contest, ContestConfig
from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE

MISS = PLACES + 1
SMALL = ContestConfig(memory=50, warm=10, slack=0.05)


def judge(contest, trend, blend, ranker, *, n=1, weight=WEIGHT_ONE):
    """Judge n lists whose clicks are at these places."""
    places = np.tile(np.array([trend, blend, ranker], np.int8), (n, 1))
    contest.learn(places, np.full(n, weight, np.int64))
    return contest


def test_that_it_begins_with_the_blend_until_it_is_warm():
    contest = judge(Contest(SMALL), 5, 5, 1, n=9)
    assert contest.mode == "blend"
    assert judge(contest, 5, 5, 1).mode == "ranker"


def test_that_the_means_are_those_of_the_reciprocal_ranks():
    contest = Contest(SMALL)
    for place in (1, 2, 4, MISS):
        judge(contest, place, 1, MISS)
    assert contest.means == pytest.approx({"trend": 1.75 / 4, "blend": 1.0, "ranker": 0.0})
    assert contest.trust == 4


def test_that_a_list_weighs_what_its_actor_weighs():
    contest = judge(Contest(SMALL), 1, 1, 1, n=3)
    judge(contest, MISS, MISS, MISS, weight=WEIGHT_ONE // 4, n=4)
    assert contest.means["ranker"] == pytest.approx(3 / 4)
    judge(contest, 1, 1, MISS, weight=0, n=100)
    assert contest.means["ranker"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(("trend", "blend", "best"), [(2, 3, "trend"), (3, 2, "blend")])
def test_that_a_ranker_that_does_worse_is_bypassed_for_the_best_simple_order(trend, blend, best):
    contest = judge(Contest(SMALL), 3, 3, 1, n=50)
    assert contest.mode == "ranker"
    assert judge(contest, trend, blend, MISS, n=50).mode == best
    assert judge(contest, trend, blend, 1, n=50).mode == "ranker"


def test_that_within_the_slack_it_stays_as_it_is():
    contest = judge(Contest(SMALL), 3, 2, 1, n=50)
    changes, mode = [], contest.mode
    for ranker in [MISS] * 60 + [1] * 120:
        judge(contest, MISS, 2, ranker)
        if contest.mode != mode:
            mode = contest.mode
            changes.append((mode, contest.means["ranker"] / contest.means["blend"]))
    (bypassed, left_at), (returned, back_at) = changes
    assert (bypassed, returned) == ("blend", "ranker")
    assert 0.90 < left_at < 0.95
    assert 1.0 <= back_at < 1.05


def test_that_a_crowd_moves_a_mean_by_no_more_than_its_trust_over_the_memory():
    contest = judge(Contest(SMALL), 2, 2, 1, n=200)
    before, fresh = contest.means["ranker"], WEIGHT_ONE // 20
    judge(contest, 2, 2, MISS, n=40, weight=fresh)
    assert before - 40 * 0.05 / SMALL.memory - 1e-9 <= contest.means["ranker"] < before


def test_that_it_goes_on_the_same_after_a_restart():
    rng = np.random.default_rng(1)
    places = rng.integers(1, MISS + 1, (300, 3)).astype(np.int8)
    weight = rng.integers(0, WEIGHT_ONE + 1, 300)
    whole, first = Contest(SMALL), Contest(SMALL)
    whole.learn(places, weight)
    first.learn(places[:120], weight[:120])
    second = Contest(SMALL)
    second.restore(first.state())
    second.learn(places[120:], weight[120:])
    assert (second.mode, second.means, second.trust) == (whole.mode, whole.means, whole.trust)


def test_that_a_state_of_other_orders_is_refused():
    contest = judge(Contest(SMALL), 3, 3, 1, n=50)
    with pytest.raises(ValueError, match="another version"):
        contest.restore(contest.state() | {"means": np.zeros(len(MODES) + 1, np.int64)})
    assert contest.mode == "ranker"


@pytest.mark.parametrize("wrong", [{"warm": 0}, {"warm": 60}, {"slack": 1.0}, {"slack": -0.1}, {"memory": 1 << 21}])
def test_that_a_config_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="contest"):
        ContestConfig(**({"memory": 50, "warm": 10} | wrong))
