"""Test that states of b6685f3 fit into the narrower tables, number by number.

`test_old_state` tests that learning goes on as before. Some values here are at the ends of the ranges of the narrow
columns.
No recorded state has any there.
"""

import numpy as np
import pytest

from recommender.core import checkpoint_reader
from recommender.core.affinity.affinity_columns import HISTORY, SHORT
from recommender.core.affinity.affinity_migrations import split_histories
from recommender.core.features import feature_columns as fk
from recommender.core.features.features_migrations import split_features
from recommender.core.pipeline import Config, Pipeline
from recommender.core.trend.trend_columns import RETRACTED
from recommender.core.trend.trend_migrations import narrow_trend
from tests.fixtures import state_b6685f3 as old

STATES = {state.name: state for run in old.runs() for state in run.states}


@pytest.fixture(params=list(STATES))
def then(request):
    """Return a recorded state of that version."""
    return checkpoint_reader.load(STATES[request.param].data())


def test_no_value_of_the_features_is_lost(then):
    before = then["screen"]["features"]
    now = split_features(before)
    actors, c = now["actors"], before["actors"]["c"]
    assert actors["c"][:, fk.A_LAST].tolist() == c[:, 0].tolist()
    assert actors["c"][:, fk.A_LAST_ITEM].tolist() == c[:, 14].tolist()
    assert actors["counts"][:, fk.C_ITEMS].tolist() == c[:, 11].tolist()
    assert actors["counts"][:, fk.C_GAP].tolist() == c[:, 7].tolist()
    members = dict(zip(now["members"]["keys"].tolist(), now["members"]["c"].tolist(), strict=True))
    nothing = [0] * fk.N_MEMBER
    then_rows = c[:, [12, 13, 15, *range(16, 22)]].tolist()
    assert [members.get(key, nothing) for key in before["actors"]["keys"].tolist()] == then_rows
    items, w = now["items"]["c"], before["items"]["c"]
    assert items[:, fk.I_N24H].tolist() == w[:, 3].tolist()
    assert items[:, [fk.I_BELIEVED, fk.I_BANDED1H, fk.I_SHARED1H]].tolist() == w[:, [33, 34, 35]].tolist()
    bands = dict(zip(now["bands"]["keys"].tolist(), now["bands"]["c"].tolist(), strict=True))
    empty = [0] * fk.N_BANDS
    assert [bands.get(key, empty) for key in before["items"]["keys"].tolist()] == w[:, 36:].tolist()
    site = now["site"][0]
    of_site = [fk.S_BEGUN24H, fk.S_RETURNED24H, fk.S_YOUNG24H, fk.S_WENTON24H, fk.S_MEETINGS, fk.S_MEET, fk.S_MEET2]
    assert site[of_site].tolist() == before["site"][0, [15, 16, 22, 23, 30, 31, 32]].tolist()
    assert now["pairs"]["n"].tolist() == before["pairs"]["c"][:, 1].tolist()


def test_no_unit_of_a_history_is_lost(then):
    before = then["affinity"]["histories"]
    now = split_histories(then["affinity"])
    short, longer = now["histories"], now["longer"]
    rest = {key: row for row, key in enumerate(longer["keys"].tolist())}
    for row, key in enumerate(before["keys"].tolist()):
        n = int(before["length"][row])
        for name in ("item", "at_ms", "weight"):
            units = short[name][row].tolist() + (longer[name][rest[key]].tolist() if n > SHORT else [])
            assert units[:n] == before[name][row, :n].tolist()
            assert not any(units[n:])
    assert longer["item"].shape[1] == HISTORY - SHORT


def test_a_state_of_this_version_is_returned_as_it_is():
    state = Pipeline(Config()).state()
    features, affinity, trend = state["screen"]["features"], state["affinity"], state["trend"]
    assert split_features(features) is features
    assert split_histories(affinity) is affinity
    assert narrow_trend(trend) is trend


def test_counts_beyond_the_narrow_columns_become_the_largest():
    state = checkpoint_reader.load(STATES[max(STATES, key=lambda name: STATES[name].after)].data())
    features = state["screen"]["features"]
    features["pairs"]["c"][0] = (1, 1 << 40, 7)
    features["actors"]["c"][0, [6, 10, 11]] = (1 << 40, 1 << 40, 1 << 40)
    pipeline = Pipeline.from_state(state)
    tables = pipeline.screen.features.tables
    assert tables["pairs"]["n"][0] == fk.MOST_CLICKS
    counts = tables["actors"]["counts"][0]
    assert counts[fk.C_GAPS] == fk.GAPS_COUNTED
    assert counts[[fk.C_IN_SESSION, fk.C_ITEMS]].tolist() == [2**31 - 1] * 2


def test_marks_of_acts_and_removed_units_keep_their_meaning():
    state = checkpoint_reader.load(STATES[max(STATES, key=lambda name: STATES[name].after)].data())
    state["screen"]["features"]["pairs"]["c"][:3, 2] = (-1, -2, 1_767_571_200_000)
    state["trend"]["pairs"]["weight"][:3] = (-(1 << 30), -(1 << 14), 1 << 14)
    pipeline = Pipeline.from_state(state)
    marks = pipeline.screen.features.tables["pairs"]["mark"][:3].tolist()
    assert marks == [fk.IS_TAKEN_BACK, fk.IS_CONDEMNED, fk.UNMARKED]
    assert pipeline.trend.pairs["weight"][:3].tolist() == [RETRACTED, -(1 << 14), 1 << 14]


def test_a_large_budget_and_many_points_have_wider_columns():
    config = Config(actor_budget=5000)
    narrow, wide = Pipeline(Config()).trend.actors, Pipeline(config).trend.actors
    assert (narrow.data["spent"].dtype, wide.data["spent"].dtype) == (np.int32, np.int64)
