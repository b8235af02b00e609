"""Test forests: the compiled walk equals PyOD's, the threshold holds its promise.

The two parts of the reservoir stay apart.
"""

from dataclasses import replace
from threading import Event, Timer

import numpy as np
import pytest

from recommender.core.pipeline import Pipeline
from recommender.core.screen.isolation_forest import (
    N_FIT,
    N_HOLDOUT,
    N_TREES,
    Forest,
    Reservoir,
    expected_path,
    find_strange,
    fit,
    flattened,
    packed,
)
from tests.help.patience import PATIENCE_S
from tests.help.streams import SCREENED, fold, readers

ALL = np.ones(40_000, np.uint8)


def rows_of(seed, n=2000, d=6):
    return np.random.default_rng(seed).beta(1, 6, (n, d)).astype(np.float32)


@pytest.fixture(scope="module")
def forest():
    return fit(rows_of(1), rows_of(2, 1000), seed=3)


def test_scores_equal_those_of_the_library():
    from pyod.models.iforest import IForest

    model = IForest(n_estimators=N_TREES, max_samples=256, random_state=3).fit(rows_of(1))
    probe = np.concatenate([rows_of(4), np.eye(6, dtype=np.float32)])
    paths = flattened(model, rows_of(2)).paths(probe)
    scores = 2 ** (-paths / (N_TREES * expected_path(np.array([256]))[0])) + model.detector_.offset_
    np.testing.assert_allclose(scores, model.decision_function(probe), atol=1e-9, rtol=0)


def test_the_same_rows_and_seed_give_the_same_forest(forest):
    again = fit(rows_of(1), rows_of(2, 1000), seed=3)
    for name, values in forest.state().items():
        np.testing.assert_array_equal(values, again.state()[name])


def test_honest_rows_are_flagged_as_rarely_as_promised(forest):
    assert (forest.p_values(rows_of(5, 20_000)) <= 0.01).mean() == pytest.approx(0.01, abs=0.006)


def test_what_is_worse_in_everything_is_flagged(forest):
    assert (forest.p_values(np.full((3, 6), 0.9, np.float32)) <= 0.001).all()


def test_a_forest_comes_back_from_its_state(forest):
    back = Forest.from_state(forest.state())
    np.testing.assert_array_equal(back.p_values(rows_of(6)), forest.p_values(rows_of(6)))


def test_the_reservoir_fills_both_sides_alike_and_forgets():
    reservoir = Reservoir(1, seed=1)
    reservoir.add(np.arange(600.0).reshape(-1, 1), ALL[:600])
    rows, holdout = reservoir.split()
    assert sorted(np.concatenate([rows, holdout]).ravel().tolist()) == list(range(600))
    assert len(holdout) == pytest.approx(200, abs=5)
    reservoir.add(np.full((40_000, 1), -1.0), ALL)
    rows, holdout = reservoir.split()
    assert (len(rows), len(holdout)) == (N_FIT, N_HOLDOUT)
    assert (rows >= 0).mean() < 0.01


def test_the_cut_into_batches_does_not_change_the_reservoir():
    one, other = Reservoir(1, seed=1), Reservoir(1, seed=1)
    values = np.arange(9000.0).reshape(-1, 1)
    one.add(values, ALL[:9000])
    for start in range(0, 9000, 700):
        other.add(values[start : start + 700], ALL[start : start + 700])
    np.testing.assert_array_equal(one.rows, other.rows)


def test_only_the_chosen_rows_enter_the_reservoir():
    one, other = Reservoir(1, seed=1), Reservoir(1, seed=1)
    values = np.arange(9000.0).reshape(-1, 1)
    is_odd = (np.arange(9000) % 2).astype(np.uint8)
    one.add(values, is_odd)
    other.add(values[1::2], ALL[:4500])
    assert one.n == other.n == 4500
    np.testing.assert_array_equal(one.rows, other.rows)


@pytest.mark.parametrize("alpha", [0.0, 0.0005, 0.001, 0.05, 0.5, 1.0])
def test_the_fast_walk_finds_strange_what_the_p_values_say(forest, alpha):
    other = fit(rows_of(7)[:, :3], rows_of(8, 1000)[:, :3], seed=4)
    rows = np.concatenate([rows_of(9, 500), np.full((3, 6), 0.9)]).astype(np.float64)
    flags = np.full(len(rows), 4, np.int32)
    flags[::7] = 3
    strange = np.zeros(len(rows), np.uint8)
    find_strange(rows, flags, 4, *packed([(2, 2, other), (4, 0, forest), (1, 0, forest)], alpha), strange)
    narrow, wide = rows.astype(np.float32)[:, 2:5], rows.astype(np.float32)
    by_other, by_forest = other.p_values(narrow) <= alpha, forest.p_values(wide) <= alpha
    np.testing.assert_array_equal(strange, np.where(flags == 4, 2 * by_other + 5 * by_forest, 0))


def test_it_makes_no_difference_when_a_fit_is_done(monkeypatch):
    stream = readers(n_events=6000, n_actors=300, n_items=30, seconds=4 * 3600)
    config = replace(
        SCREENED, screen=replace(SCREENED.screen, fit_rows=1, alpha=0.2, crowd_n=2, burst_n=2, burst_z=1.0)
    )
    waited, slow = fold(stream, config), Event()

    def late(*arguments, **named):
        slow.wait(0.2)
        return fit(*arguments, **named)

    monkeypatch.setattr("recommender.core.screen.forest_refits.fit", late)
    assert waited.screen.forests.n_fits > 2
    assert fold(stream, config).digest() == waited.digest()


def test_a_checkpoint_taken_while_a_fit_is_under_way_has_its_trees(monkeypatch):
    go_on = Event()
    monkeypatch.setattr(
        "recommender.core.screen.forest_refits.fit",
        lambda *args, **named: go_on.wait(PATIENCE_S) and fit(*args, **named),
    )
    forests = Pipeline(SCREENED).screen.forests
    rows = np.random.default_rng(1).random((100, forests.reservoir.rows.shape[1]))
    forests.learn(rows, ALL[:100])
    forests.advance(1000)
    assert not forests._fitting.done()
    Timer(0.05, go_on.set).start()
    assert set(forests.state()["pending"]) == {"actor", "item", "network"}


def test_a_fit_that_fails_breaks_one_step_and_not_the_next(monkeypatch):
    monkeypatch.setattr("recommender.core.screen.forest_refits.fit", lambda *_, **__: 1 / 0)
    forests = Pipeline(SCREENED).screen.forests
    forests.learn(np.random.default_rng(1).random((100, forests.reservoir.rows.shape[1])), ALL[:100])
    forests.advance(1000)
    with pytest.raises(ZeroDivisionError):
        forests.advance(1000 + 60_000)
    forests.advance(1000 + 61_000)
