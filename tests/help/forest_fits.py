"""Forests that are fitted only once.

Many tests fold one history again and again. The same rows give the same forest.
"""

from contextlib import contextmanager

import pytest

from recommender.core.screen import forest_refits


@contextmanager
def fitted_once():
    """Remember every fit for the time of the block.

    A row that differs in one bit is fitted again. test_isolation_forest.py checks that the same rows and seed give
    the same forest. It calls `isolation_forest.fit` itself.
    """
    fit, known = forest_refits.fit, {}

    def fit_once(rows, holdout, seed):
        key = rows.shape, rows.tobytes(), holdout.tobytes(), seed
        if key not in known:
            known[key] = fit(rows, holdout, seed=seed)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest_refits, "fit", fit_once)
        yield
