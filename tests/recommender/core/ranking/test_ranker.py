"""Test the ranker: its lessons, hostile input, the same everywhere."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from recommender.core import checkpoint, checkpoint_reader
from recommender.core.ranking import Ranker, click_model
from recommender.core.ranking.bypass import MODES
from recommender.core.ranking.click_model import sigmoid
from recommender.core.ranking.list_scores import CLIP, HUGE, CandidateLists
from recommender.core.ranking.ranker import RankerConfig
from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import HOUR_MS
from tests.help.ranker_lessons import CONFIG, CONTEST, N_CANDIDATES, NAMES, acts, lists, new, teach
from tests.help.streams import MINUTE, T0


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
