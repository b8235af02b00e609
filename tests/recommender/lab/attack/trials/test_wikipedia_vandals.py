"""Tests for the outside check: choices on the first half, figures for both."""

import numpy as np
import polars as pl
import pytest

from recommender.lab.attack.trials import wikipedia_vandals
from tests.help.streams import SCREENED, T0


@pytest.fixture
def log(tmp_path):
    """Make a log of 40 honest actors and of 48 vandals.

    The honest actors edit for weeks. Each vandal edits the page of one day once.
    """
    rng = np.random.default_rng(1)
    days = 20
    rows = []
    for day in range(days):
        for actor in range(40):
            if actor % 20 <= day:
                at = T0 / 1000 + 86_400 * day + rng.integers(0, 80_000, 3)
                rows += [(float(t), f"ana-{actor}", f"page-{rng.integers(0, 100)}", 0) for t in at]
        for bot in range(12 if day % 5 == 3 else 0):
            rows.append((T0 / 1000 + 86_400 * day + 40_000 + 5 * bot, f"mal-{day}-{bot}", f"day-{day}", 1))
    path = tmp_path / "log.parquet"
    frame = pl.DataFrame(sorted(rows), schema=["ts", "actor", "item", "label"], orient="row")
    frame.with_columns(pl.col("label").cast(pl.Int8)).write_parquet(path)
    return path


def test_both_halves_are_told_by_what_was_chosen_on_the_first(log):
    found = wikipedia_vandals.check(log, SCREENED)
    halves = found["first_half"], found["second_half"]
    assert sum(half["actors"] for half in halves) == 40 + 4 * 12
    assert sum(half["vandals"] for half in halves) == 4 * 12
    assert found["score"] in wikipedia_vandals.AGGREGATES
    assert found["first_half"]["flagged"]["honest"] <= wikipedia_vandals.HONEST_FLAGGED
    assert min(half["auc"] for half in halves) > 0.6


def test_nothing_but_figures_is_told(log):
    names = {*pl.read_parquet(log)["actor"], *pl.read_parquet(log)["item"]}
    told = str(wikipedia_vandals.check(log, SCREENED))
    assert not any(name in told for name in names)
