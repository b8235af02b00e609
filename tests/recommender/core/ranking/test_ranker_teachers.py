"""Test who teaches the ranker, and how far a crowd can move it."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.ranking.list_scores import CLIP, CandidateLists
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import HOUR_MS
from tests.help.ranker_lessons import CONFIG, FRESH, N_CANDIDATES, NAMES, acts, lists, new, teach
from tests.help.streams import MINUTE, T0


def test_that_few_acts_are_chosen_and_more_while_it_is_eager():
    ranker, (actor, item) = new(replace(CONFIG, lists_per_step=10**6, eager=1)), acts(20_000)
    weight = np.full(20_000, WEIGHT_ONE)
    assert len(ranker.choose(actor, item, weight, len(actor), T0)) == pytest.approx(5000, rel=0.1)
    ranker.learn(lists(1, seed=1), T0)
    assert len(ranker.choose(actor, item, weight, len(actor), T0)) == pytest.approx(208, rel=0.3)


def test_that_in_small_steps_more_of_the_acts_are_chosen():
    ranker, (actor, item) = new(replace(CONFIG, eager=0)), acts(20_000)
    weight = np.full(100, WEIGHT_ONE)
    steps = np.split(np.arange(20_000), 200)
    chosen = [ranker.choose(actor[step], item[step], weight, 100, T0) for step in steps]
    assert np.mean([len(rows) for rows in chosen]) == pytest.approx(16, rel=0.1)
    # only 10 of them count as acts
    chosen = [ranker.choose(actor[step], item[step], weight, 10, T0) for step in steps]
    assert np.mean([len(rows) for rows in chosen]) == pytest.approx(25, rel=0.1)


@pytest.mark.parametrize("eager", [0, 2000])
def test_that_others_add_no_act_to_those_chosen_and_take_none_while_it_is_eager(eager):
    ranker, (actor, item) = new(replace(CONFIG, lists_per_step=10**6, eager=eager)), acts(4000)
    weight = np.full(4000, WEIGHT_ONE)
    alone = ranker.choose(actor[:200], item[:200], weight[:200], 200, T0)
    among = ranker.choose(actor, item, weight, 4000, T0)
    left = among[among < 200]
    assert len(left)
    assert set(left) <= set(alone)
    assert (len(left) == len(alone)) == bool(eager)


def test_that_an_actor_teaches_one_list_a_while_whatever_it_sends():
    ranker, (actor, item) = new(replace(CONFIG, eager_share=1.0)), acts(500, n_actors=3)
    rows = ranker.choose(actor, item, np.full(500, WEIGHT_ONE), len(actor), T0)
    assert sorted(actor[rows].tolist()) == sorted(set(actor.tolist()))
    some = lists(len(rows), seed=1)
    ranker.learn(replace(some, actor=actor[rows]), T0)
    assert len(ranker.choose(actor, item, np.full(500, WEIGHT_ONE), len(actor), T0 + MINUTE)) == 0
    assert len(ranker.choose(actor, item, np.full(500, WEIGHT_ONE), len(actor), T0 + 10 * MINUTE)) == 3


def test_that_no_more_trust_is_spent_than_an_hour_has_and_the_trusted_come_first():
    config = replace(CONFIG, trust_per_h=60.0, eager_share=1.0, lists_per_step=10**6)
    ranker, (actor, item) = new(config), acts(2000)
    weight = np.where(np.arange(2000) % 100 == 0, WEIGHT_ONE, FRESH)
    rows = ranker.choose(actor, item, weight, len(actor), T0)
    assert weight[rows].sum() <= 15 * WEIGHT_ONE
    assert (weight[rows] == WEIGHT_ONE).all()
    fresh = weight == FRESH
    rows = ranker.choose(actor[fresh], item[fresh], weight[fresh], fresh.sum(), T0)
    some = replace(lists(len(rows), seed=1, weight=FRESH), actor=actor[fresh][rows])
    ranker.learn(some, T0)
    assert weight[fresh][rows].sum() == pytest.approx(7.5 * WEIGHT_ONE, rel=0.1)
    assert len(ranker.choose(actor[fresh], item[fresh], weight[fresh], fresh.sum(), T0)) == 0
    assert (
        len(ranker.choose(actor[~fresh], item[~fresh], weight[~fresh], (~fresh).sum(), T0)) == 7
    )  # the half that is kept for them


def test_that_an_act_of_no_weight_is_never_chosen_and_teaches_nothing():
    ranker, (actor, item) = new(replace(CONFIG, eager_share=1.0)), acts(100)
    assert len(ranker.choose(actor, item, np.zeros(100, np.int64), len(actor), T0)) == 0
    taught = teach(new(), n_steps=3)
    before = taught.export()
    taught.learn(lists(10, seed=4, weight=0), T0 + HOUR_MS)
    after = taught.export()
    assert np.array_equal(after.mean, before.mean)
    assert np.array_equal(after.coefficients, before.coefficients)


def test_that_a_lesson_moves_the_model_in_proportion_to_trust():
    moved = []
    for weight in (FRESH, WEIGHT_ONE):
        ranker = teach(new())
        before = ranker.export().coefficients
        ranker.learn(lists(1, seed=8, weight=weight), T0 + HOUR_MS)
        moved.append(float(np.linalg.norm(ranker.export().coefficients - before)))
    assert moved[0] == pytest.approx(moved[1] / 20, rel=0.2)


def contrary(n, *, weight, first_actor):
    """Return the worst lists that can be made up.

    The clicked candidate is at one end of every feature, and all others are at the other.
    """
    features = np.full((n, N_CANDIDATES, len(NAMES)), 50.0)
    features[:, 7] = -50.0
    actors = np.arange(first_actor, first_actor + n)
    return CandidateLists.of(features.reshape(-1, len(NAMES)), [N_CANDIDATES] * n, [7] * n, actors, [weight] * n)


@pytest.mark.parametrize("n_crowd", [1, 20, 200])
def test_that_no_crowd_moves_the_model_further_than_the_bound_whatever_others_teach_meanwhile(n_crowd):
    config = replace(CONFIG, memory=1e9)
    settled = new(config).state()  # the scaler has seen so much that nothing moves it
    settled["model"] |= {"mass": 1e9, "variance": np.ones(len(NAMES))}
    with_them, without = new(config), new(config)
    for ranker in (with_them, without):
        ranker.restore(settled)
    for step in range(20):
        now_ms = T0 + step * MINUTE // 2
        if step == 5:
            with_them.learn(contrary(n_crowd, weight=FRESH, first_actor=10**6), now_ms)
        for ranker in (with_them, without):
            ranker.learn(lists(10, seed=step, first_actor=100 * step), now_ms)
    ours, theirs = without.export(), with_them.export()
    apart = np.hypot(np.linalg.norm(ours.coefficients - theirs.coefficients), ours.intercept - theirs.intercept)
    one_lesson = config.learning_rate * 9 * np.sqrt(1 + len(NAMES) * CLIP**2) * n_crowd / 20
    assert 0 < apart <= one_lesson
    assert one_lesson < with_them.move_bound(n_crowd / 20)


def test_that_the_bound_stops_growing_where_the_trust_of_an_hour_is_spent():
    ranker = new(replace(CONFIG, trust_per_h=60.0))
    assert ranker.move_bound(2.0) == 2 * ranker.move_bound(1.0)
    assert ranker.move_bound(1e9) == ranker.move_bound(75.0)


def test_that_a_learning_rate_past_which_the_bound_does_not_hold_is_refused():
    with pytest.raises(ValueError, match=r"the learning rate is at most 0\.0988"):
        new(replace(CONFIG, learning_rate=0.1))
