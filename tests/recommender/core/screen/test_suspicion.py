"""Test the score: bounded, one-sided, 0 without both an actor and a crowd."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.core.features import feature_columns as fk
from recommender.core.screen.suspicion import ACTOR, CROWD, scores

rows = st.lists(st.floats(0, 1), min_size=fk.N_FEATURES, max_size=fk.N_FEATURES)
verdicts = st.integers(0, 2)


def score(features, verdict=0):
    return float(scores(np.array([features], np.float64), np.array([verdict], np.int8))[0])


@given(rows, verdicts)
def test_a_score_is_the_product_of_the_worst_of_both_and_a_quarter_a_degree(features, verdict):
    x = np.array(features)
    expected = x[ACTOR].max() * x[CROWD].max() / 2 + verdict / 4
    assert score(features, verdict) == np.float32(expected)
    assert 0 <= score(features, verdict) <= 1


@given(rows, verdicts, st.integers(0, fk.N_FEATURES - 1))
def test_no_feature_lowers_a_score(features, verdict, column):
    worse = list(features)
    worse[column] = 1.0
    assert score(worse, verdict) >= score(features, verdict)


def test_a_newcomer_alone_and_a_busy_item_alone_score_nothing():
    newcomer, news = np.zeros(fk.N_FEATURES), np.zeros(fk.N_FEATURES)
    newcomer[fk.NEWNESS] = news[fk.RISE] = news[fk.BURST] = 1.0
    assert score(newcomer) == score(news) == 0
    assert score(newcomer + news) == 0.5
