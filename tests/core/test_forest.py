"""Forests: the compiled walk equals PyOD's, the threshold keeps its promise, the reservoir keeps its sides apart."""

import numpy as np
import pytest

from recommender.core.forest import N_FIT, N_HOLDOUT, N_TREES, Forest, Reservoir, expected_path, fit, flattened


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
    reservoir.add(np.arange(600.0).reshape(-1, 1))
    rows, holdout = reservoir.split()
    assert sorted(np.concatenate([rows, holdout]).ravel().tolist()) == list(range(600))
    assert len(holdout) == pytest.approx(200, abs=5)
    reservoir.add(np.full((40_000, 1), -1.0))
    rows, holdout = reservoir.split()
    assert (len(rows), len(holdout)) == (N_FIT, N_HOLDOUT)
    assert (rows >= 0).mean() < 0.01


def test_the_cut_into_batches_does_not_change_the_reservoir():
    one, other = Reservoir(1, seed=1), Reservoir(1, seed=1)
    values = np.arange(9000.0).reshape(-1, 1)
    one.add(values)
    for start in range(0, 9000, 700):
        other.add(values[start : start + 700])
    np.testing.assert_array_equal(one.rows, other.rows)
