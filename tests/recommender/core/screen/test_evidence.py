"""Test evidence: percentiles equal counts, and admitted events have none."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.features import feature_columns as fk
from recommender.core.pipeline import Pipeline
from recommender.core.screen import screen as screens
from recommender.core.screen.evidence import MIN_CLEARED, UNKNOWN, percentiles_of
from recommender.core.screen.isolation_forest import N_FIT, N_HOLDOUT
from recommender.core.vocabulary import Reason
from tests.help.folded import Run, push, site
from tests.help.streams import SCREENED, fold, readers


@pytest.mark.parametrize("n", [1, 50, 500])
def test_percentiles_are_the_share_of_cleared_rows_below(n):
    rng = np.random.default_rng(1)
    cleared = np.round(rng.random((700, 5)), 2).astype(np.float32)
    rows = np.concatenate([np.round(rng.random((n, 5)), 2), np.zeros((1, 5)), np.full((1, 5), 2.0)])
    expected = [[100 * int((cleared[:, c] < np.float32(row[c])).sum()) // 700 for c in range(5)] for row in rows]
    np.testing.assert_array_equal(percentiles_of(cleared, rows), expected)


def test_without_cleared_traffic_nothing_is_known():
    few = np.zeros((MIN_CLEARED - 1, 3), np.float32)
    assert (percentiles_of(few, np.ones((2, 3))) == UNKNOWN).all()


def test_nothing_is_computed_for_what_is_admitted(monkeypatch):
    monkeypatch.setattr(screens, "gather", lambda *_: 1 / 0)
    pipeline = fold(readers(n_events=3000), SCREENED)
    assert pipeline.screen.n_broken == 0


@pytest.fixture(scope="module")
def attacked():
    config = replace(SCREENED, screen=replace(SCREENED.screen, fit_after_s=1))
    return Run(push(site(), "target"), config)


def test_every_stopped_event_and_no_other_has_its_evidence(attacked):
    for result in attacked.results:
        stopped = np.flatnonzero(result.verdicts.verdict)
        np.testing.assert_array_equal(result.verdicts.evidence.rows, stopped)
        assert result.verdicts.evidence.percentiles.shape == (len(stopped), fk.N_FEATURES)
        assert result.verdicts.evidence.p_values.shape == (len(stopped), 3)


def test_the_evidence_against_a_crowd_of_newcomers_is_high_where_it_is_known(attacked):
    pieces = [result.verdicts.evidence for result in attacked.results if len(result.verdicts.evidence.rows)]
    last = np.concatenate([piece.percentiles for piece in pieces])[-20:]
    known = last[:, fk.NOVEL]
    assert (known[known != UNKNOWN] >= 90).all()
    assert (last[:, [fk.PREFIX, fk.NEW_PREFIX, fk.AGENT]] == UNKNOWN).all()
    assert {piece.alpha for piece in pieces} == {SCREENED.screen.alpha}


def test_p_values_in_the_evidence_are_those_that_flagged():
    config = replace(SCREENED, screen=replace(SCREENED.screen, fit_rows=20, alpha=0.2, is_lockstep_on=False))
    run = Run(push(site(), "target"), config)
    by_item = int(Reason.FOREST_ITEM)
    seen = 0
    for result in run.results:
        evidence = result.verdicts.evidence
        for row, p_values in zip(evidence.rows, evidence.p_values, strict=True):
            assert (p_values[1] <= np.float32(0.2)) == bool(result.verdicts.reason[row] & by_item)
            seen += 1
    assert seen


def test_a_reservoir_that_is_not_full_gives_only_its_rows():
    reservoir = Pipeline(SCREENED).screen.forests.reservoir
    assert len(reservoir.filled()) == 0
    rows = np.random.default_rng(1).random((500, fk.N_FEATURES))
    reservoir.add(rows, np.ones(500, np.uint8))
    assert len(reservoir.filled()) == 500
    for _ in range(8):
        reservoir.add(rows, np.ones(500, np.uint8))
    assert len(reservoir.filled()) == N_FIT + N_HOLDOUT
