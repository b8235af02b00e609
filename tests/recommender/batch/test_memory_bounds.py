"""The worst size of a Pipeline matches its tables.

A narrowed Pipeline stays below its limit.
"""

from dataclasses import replace

import numpy as np
import pytest

from recommender.batch import memory_bounds
from recommender.core.affinity.affinity_columns import BLOCK
from recommender.core.config import Config
from recommender.core.pipeline import Pipeline
from recommender.core.tables import Table

SLOTS = 18  # a key, and slots at their emptiest


def row_bytes(table: Table) -> int:
    return SLOTS + sum(column.itemsize * int(np.prod(column.shape[1:], dtype=int)) for column in table.data.values())


def test_the_bytes_a_row_are_those_of_the_tables():
    pipeline = Pipeline(Config())
    trend, affinity, screened = pipeline.trend, pipeline.affinity, pipeline.screen.features.tables
    assert {
        "max_regions": row_bytes(trend.regions),
        "max_networks": row_bytes(trend.networks),
        "max_pairs": row_bytes(trend.pairs),
        "max_actors": row_bytes(trend.actors),
        "max_screened_actors": sum(row_bytes(screened[name]) for name in ("actors", "members", "sketches")),
        "max_screened_pairs": row_bytes(screened["pairs"]),
        "max_links": row_bytes(screened["links"]),
    }.items() <= memory_bounds.ROW_BYTES.items()
    of_items = row_bytes(trend.items) + row_bytes(screened["items"]) + row_bytes(screened["bands"])
    assert memory_bounds.ROW_BYTES["max_items"] > of_items
    list_bytes = 24  # of a place in a source's list, BLOCK places at a time
    assert {
        "max_histories": row_bytes(affinity.histories) + row_bytes(affinity.longer),
        "max_links": row_bytes(affinity.links) + list_bytes,
        "max_sources": row_bytes(affinity.sources) + (BLOCK - 1) * list_bytes,
    } == memory_bounds.AFFINITY_ROW_BYTES


@pytest.mark.parametrize("n_bytes", [10**9, 10**8, 3 * 10**7])
def test_a_narrowed_config_stays_below_and_differs_in_nothing_else(n_bytes):
    config = memory_bounds.narrowed(Config(actor_budget=77), n_bytes)
    assert memory_bounds.worst_bytes(config) <= n_bytes
    whole = Config(actor_budget=77)
    names = {name: getattr(whole, name) for name in memory_bounds.ROW_BYTES}
    assert replace(config, **names, affinity=whole.affinity) == whole


def test_enough_memory_cuts_nothing_and_none_leaves_the_least():
    assert memory_bounds.narrowed(Config(), 10**12) == Config()
    least = memory_bounds.narrowed(Config(), 0)
    assert {getattr(least, name) for name in memory_bounds.ROW_BYTES} == {memory_bounds.LEAST_ROWS}
