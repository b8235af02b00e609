"""What holds for all tests of the core."""

import pytest

from recommender.core.screen import forest_refits


@pytest.fixture(scope="session", autouse=True)
def _no_forest_is_fitted_twice():
    """Many tests fold one history again and again. That the same rows and seed give the same forest is in
    test_forest.py, which calls `isolation_forest.fit` itself; a row that differs in one bit is fitted anew."""
    fit, known = forest_refits.fit, {}

    def fit_once(rows, holdout, seed):
        key = rows.shape, rows.tobytes(), holdout.tobytes(), seed
        if key not in known:
            known[key] = fit(rows, holdout, seed=seed)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest_refits, "fit", fit_once)
        yield
