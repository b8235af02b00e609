"""Test the ranker: its lessons, who teaches it, how far, the same everywhere."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from recommender.core import checkpoint, checkpoint_reader
from recommender.core.ranking import Ranker, click_model
from recommender.core.ranking.bypass import MODES, ContestConfig
from recommender.core.ranking.click_model import sigmoid
from recommender.core.ranking.list_scores import CLIP, HUGE, CandidateLists
from recommender.core.ranking.ranker import RankerConfig
from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import HOUR_MS
from tests.help.streams import MINUTE, T0

NAMES = ("trend", "blend", "good", "bad", "noise")
TASTES = (0.0, 0.5, 2.0, -2.0, 0.0)  # readers click by these weights of the features
CONFIG = RankerConfig(learning_rate=0.02, trust_per_h=1e6)
CONTEST = ContestConfig(memory=100, warm=20)
FRESH = WEIGHT_ONE // 20
N_CANDIDATES = 40


def new(config=CONFIG):
    return Ranker(config, CONTEST, NAMES, trend="trend", blend="blend")


def lists(n, *, seed, tastes=TASTES, weight=WEIGHT_ONE, first_actor=0, size=N_CANDIDATES):
    """Return the lists shown to n different actors, who clicked by their tastes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n * size, len(NAMES)))
    wishes = features @ np.array(tastes) + rng.gumbel(size=n * size)
    clicked = wishes.reshape(n, size).argmax(axis=1)
    actors = np.arange(first_actor, first_actor + n) * 0x9E3779B9 + seed
    return CandidateLists.of(features, [size] * n, clicked, actors, np.full(n, weight))


def teach(ranker, *, n_steps=30, n=10, seed=1, start_ms=T0, **how):
    for step in range(n_steps):
        ranker.learn(lists(n, seed=1000 * seed + step, first_actor=n * step, **how), start_ms + step * MINUTE)
    return ranker


def digest(ranker):
    return checkpoint_reader.digest(checkpoint.dump(ranker.state()))


def coefficients(ranker):
    return dict(zip(NAMES, ranker.export().coefficients.tolist(), strict=True))


# -- lessons -----------------------------------------------------------------------------------------------------


def test_that_it_learns_which_features_readers_go_by():
    learned = coefficients(teach(new()))
    assert learned["good"] > 0.5
    assert learned["bad"] < -0.5
    assert abs(learned["noise"]) < 0.2


def test_that_before_any_lesson_it_is_the_blend():
    ranker = new()
    features = lists(1, seed=3).features
    assert ranker.mode == "blend"
    assert np.array_equal(ranker.scores(features), features[:, 1])
    assert ranker.export().coefficients.tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_that_a_list_is_a_question_before_it_is_a_lesson():
    asked, told = lists(40, seed=5), teach(new())
    expected = told.orders(asked.features)[:, MODES.index("ranker")].reshape(40, N_CANDIDATES)
    places = told.learn(asked, T0 + HOUR_MS)
    clicked = expected[np.arange(40), asked.clicked]
    ranks = 1 + (expected > clicked[:, None]).sum(axis=1)
    assert places[:, MODES.index("ranker")].tolist() == np.minimum(ranks, PLACES + 1).tolist()


def test_that_of_equal_candidates_the_earlier_stands_first_and_what_is_not_there_is_a_miss():
    same = CandidateLists.of(np.zeros((15, 5)), [5, 5, 5], [3, -1, 0], [1, 2, 3], [0, 0, 0])
    assert new().learn(same, T0).tolist() == [[4] * 3, [PLACES + 1] * 3, [1] * 3]


def test_that_a_list_without_its_click_teaches_nothing():
    ranker = teach(new(), n_steps=2)
    before, some = ranker.export(), lists(5, seed=9)
    ranker.learn(replace(some, clicked=np.full(5, -1)), T0 + HOUR_MS)
    assert np.array_equal(ranker.export().coefficients, before.coefficients)
    assert ranker.n_lists == 25


@pytest.mark.parametrize("optimiser", ["sgd", "adagrad"])
def test_that_other_optimisers_learn_the_same_tastes(optimiser):
    learned = coefficients(teach(new(replace(CONFIG, optimiser=optimiser))))
    assert learned["good"] > 0.3 > -0.3 > learned["bad"]


def test_that_a_higher_learning_rate_adapts_faster():
    slow, fast = (teach(new(replace(CONFIG, learning_rate=rate)), n_steps=5) for rate in (0.001, 0.02))
    assert coefficients(fast)["good"] > 3 * coefficients(slow)["good"] > 0


# -- bypass ------------------------------------------------------------------------------------------------------


def test_that_it_is_served_when_it_is_better_bypassed_when_it_is_worse_and_served_again():
    ranker = teach(new())
    assert ranker.mode == "ranker"
    turned = (0.0, 3.0, -2.0, 2.0, 0.0)  # readers want the opposite, and the blend knows it
    ranker.learn(lists(200, seed=77, tastes=turned), T0 + HOUR_MS)
    assert ranker.mode == "blend"
    assert ranker.contest.means["ranker"] < ranker.contest.means["blend"]
    teach(ranker, start_ms=T0 + 2 * HOUR_MS, tastes=turned, seed=2, n_steps=80)
    assert ranker.mode == "ranker"


# -- teachers, and their reach -----------------------------------------------------------------------------------


def acts(n, *, seed=1, n_actors=None):
    rng = np.random.default_rng(seed)
    actor = rng.integers(1, 2**63, n).astype(np.uint64)
    if n_actors:
        actor = actor[rng.integers(0, n_actors, n)]
    return actor, rng.integers(1, 2**63, n).astype(np.uint64)


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


# -- hostile input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2 * HUGE, -1e300])
def test_that_features_that_are_no_numbers_are_refused_with_the_state_unchanged(value):
    ranker, some = teach(new(), n_steps=2), lists(3, seed=1)
    before = digest(ranker)
    features = some.features.copy()
    features[50, 2] = value
    with pytest.raises(ValueError, match="not a number, infinite or huge"):
        ranker.learn(CandidateLists.of(features, [N_CANDIDATES] * 3, some.clicked, some.actor, some.weight), T0)
    assert digest(ranker) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clicked": [0, N_CANDIDATES]}, "outside its list"),
        ({"clicked": [0, -2]}, "outside its list"),
        ({"weight": [1, WEIGHT_ONE + 1]}, "outside 0 to 1"),
        ({"weight": [-1, 1]}, "outside 0 to 1"),
        ({"sizes": [N_CANDIDATES, 1]}, "do not add up"),
        ({"sizes": [2 * N_CANDIDATES + 1, -1]}, "do not add up"),
        ({"actor": [1]}, "one size, click, actor and weight per list"),
    ],
)
def test_that_lists_that_cannot_be_are_refused(wrong, message):
    columns = {"sizes": [N_CANDIDATES] * 2, "clicked": [0, 1], "actor": [1, 2], "weight": [1, 1]}
    with pytest.raises(ValueError, match=message):
        CandidateLists.of(np.zeros((2 * N_CANDIDATES, 5)), **(columns | wrong))


def test_that_lists_of_other_features_are_refused_with_the_state_unchanged():
    ranker = teach(new(), n_steps=2)
    before = digest(ranker)
    with pytest.raises(ValueError, match="5 features, not 4"):
        ranker.learn(CandidateLists.of(np.zeros((4, 4)), [4], [0], [1], [1]), T0)
    assert digest(ranker) == before


@pytest.mark.parametrize("value", [HUGE, -HUGE, 0.0])
def test_that_the_largest_features_there_can_be_leave_the_model_finite(value):
    ranker = teach(new(), n_steps=3)
    some = lists(5, seed=1)
    ranker.learn(replace(some, features=np.full_like(some.features, value)), T0 + HOUR_MS)
    weights = ranker.export()
    assert np.isfinite([*weights.mean, *weights.scale, *weights.coefficients, weights.intercept]).all()


# -- the same everywhere -----------------------------------------------------------------------------------------


def test_that_the_exported_weights_score_exactly_as_river_does():
    ranker = teach(new(), n_steps=5)
    model, weights, features = ranker._river(), ranker.export(), 5 * lists(20, seed=2).features
    theirs = [model.predict_proba_one(dict(zip(NAMES, row, strict=True)))[True] for row in features.tolist()]
    assert weights.probabilities(features) == pytest.approx(np.array(theirs), abs=1e-9)
    assert [sigmoid(each) for each in weights.logits(features).tolist()] == theirs


def test_that_rivers_own_scaler_and_regression_learn_the_same_from_full_weights():
    from river import linear_model, optim, preprocessing

    ranker, some = new(replace(CONFIG, n_others=1)), lists(200, seed=6, size=2)
    ranker.learn(some, T0)
    scaler = preprocessing.StandardScaler()
    regression = linear_model.LogisticRegression(optim.SGD(0.02), intercept_lr=0.02)
    regression._weights["blend"] = 1.0
    for number, clicked in enumerate(some.clicked.tolist()):
        for place in (clicked, 1 - clicked):
            example = dict(zip(NAMES, some.features[2 * number + place].tolist(), strict=True))
            scaler.learn_one(example)
            scaled = scaler.transform_one(example)
            regression.learn_one(
                {name: min(max(each, -CLIP), CLIP) for name, each in scaled.items()}, place == clicked
            )
    assert coefficients(ranker) == pytest.approx(regression.weights, abs=1e-9)
    assert ranker.export().intercept == pytest.approx(regression.intercept, abs=1e-9)


@pytest.mark.parametrize("optimiser", ["sgd", "adagrad"])
def test_that_examples_learned_at_once_are_learned_as_one_by_one(optimiser):
    config = replace(CONFIG, optimiser=optimiser)
    ranker, other = teach(new(config), n_steps=3), teach(new(config), n_steps=3)
    rows = np.random.default_rng(4).normal(size=(300, len(NAMES)))
    rows[:, -1] = 1.0  # it never varies much
    weights = np.where(np.arange(300) % 7 == 0, 0.0, np.random.default_rng(5).random(300))
    is_clicked = np.arange(300) % 3 == 0
    click_model.learn(ranker._river(), NAMES, rows, is_clicked, weights)
    for row, answer, weight in zip(rows.tolist(), is_clicked.tolist(), weights.tolist(), strict=True):
        other._river().learn_one(dict(zip(NAMES, row, strict=True)), answer, w=weight)
    theirs, ours = (click_model.read(each._river(), NAMES) for each in (other, ranker))
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)


@pytest.mark.parametrize("optimiser", ["sgd", "adagrad"])
def test_that_it_goes_on_the_same_after_a_restart(optimiser):
    config = replace(CONFIG, optimiser=optimiser)
    first, second = teach(new(config), n_steps=7), new(config)
    second.restore(checkpoint_reader.load(checkpoint.dump(first.state())))
    assert digest(second) == digest(first)
    for ranker in (first, second):
        teach(ranker, n_steps=7, seed=3, start_ms=T0 + HOUR_MS)
    assert digest(second) == digest(first)


def test_that_the_state_does_not_depend_on_the_process():
    program = "from tests.recommender.core.ranking.test_ranker import *; print(digest(teach(new(), n_steps=4)))"
    found = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."}
        run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        found.add(run.stdout.strip())
    assert found == {digest(teach(new(), n_steps=4))}


def test_that_reading_changes_nothing():
    ranker = teach(new(), n_steps=3)
    before, some = digest(ranker), lists(3, seed=1)
    ranker.scores(some.features)
    ranker.orders(some.features)
    ranker.export().probabilities(some.features)
    ranker.choose(*acts(100), np.full(100, WEIGHT_ONE), 100, T0 + 5 * HOUR_MS)
    ranker._river().predict_proba_one({"never": 1.0, "seen": 2.0})
    ranker._read()
    assert digest(ranker) == before


def test_that_a_state_handed_out_is_not_the_rankers_own():
    ranker = teach(new(), n_steps=3)
    before, state = digest(ranker), ranker.state()
    state["model"]["coefficients"][:] = 9.0
    state["taught"][:] = 0
    assert digest(ranker) == before


def test_that_a_state_of_another_ranker_is_refused():
    ranker = teach(new(), n_steps=3)
    before = digest(ranker)
    with pytest.raises(ValueError, match="other features or another optimiser"):
        ranker.restore(Ranker(CONFIG, CONTEST, NAMES[:4], trend="trend", blend="blend").state())
    with pytest.raises(ValueError, match="other features or another optimiser"):
        ranker.restore(new(replace(CONFIG, optimiser="adagrad")).state())
    assert digest(ranker) == before


def test_that_its_state_stays_small_whoever_comes():
    ranker = new()
    sizes = []
    for step in range(30):
        ranker.learn(lists(50, seed=step, first_actor=50 * step, size=3), T0 + step * 10 * MINUTE)
        sizes.append(len(checkpoint.dump(ranker.state())))
    assert max(sizes) < 3000


def test_that_scoring_does_not_import_river():
    program = (
        "import sys; import recommender.core.ranking.ranker as r\n"
        "ranker = r.Ranker(r.RankerConfig(), r.ContestConfig(), ('trend', 'blend'), trend='trend', blend='blend')\n"
        "ranker.export().logits(r.np.zeros((3, 2))); ranker.state()\n"
        "print('river' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    "wrong",
    [{"optimiser": "adam"}, {"learning_rate": 0.0}, {"share": 0.5}, {"n_others": 0}, {"memory": 0.0}, {"l2": 1.0}],
)
def test_that_a_config_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"ranker|learn|list|scaler"):
        RankerConfig(**wrong)
