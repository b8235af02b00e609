"""Gather the candidate lists of many acts in one call.

    chosen acts, their actors' histories and where each ends ──> gather, for each ──> lists, one below the other

Most of the time of a small step would otherwise go into calls from Python.
"""

from typing import Any

import numpy as np
from numba import njit

from recommender.core.ranking.candidate_kernels import Float64s
from recommender.core.ranking.gather_kernels import gather
from recommender.core.tables.hashing import Int64s, UInt64s
from recommender.core.trend.trend_columns import Events, Items
from recommender.core.vocabulary import UNDO


@njit(cache=True)
def gather_many(
    chosen: Int64s,
    packed_events: tuple[Any, ...],
    histories: UInt64s,
    ends: Int64s,
    steady: UInt64s,
    slow: int,
    tables: tuple[Any, ...],
    source_arrays: tuple[Any, ...],
    recipe_values: tuple[Any, ...],
    features: Float64s,
    keys: UInt64s,
    scores: Float64s,
    most: int,
) -> Int64s:
    """Write the candidates of each chosen act, and return where each list ends.

    chosen: rows of the events, ascending. The actor's earlier acts of the same batch are known.
    histories: keys of each actor's last items, newest first, those of one act below those of another.
    ends: where the history of each act ends, (chosen,).
    features, keys, scores: (chosen * most, ...) to write to.
    most: at least the number of candidates of one act, a power of two.
    """
    events, items = Events(*packed_events), Items(*tables[2])
    list_ends = np.empty(chosen.size, np.int64)
    recent = np.empty(events.item.size + histories.size, np.uint64)
    rows, origins = np.empty(most, np.int32), np.empty(most, np.int8)
    end, start = 0, 0
    for place in range(chosen.size):
        act = chosen[place]
        actor = events.actor[act]
        n_recent = 0
        for before in range(act - 1, -1, -1):
            if events.actor[before] == actor and events.weight[before] > 0 and events.kind[before] != UNDO:
                recent[n_recent] = events.item[before]
                n_recent += 1
        n_new = n_recent
        for k in range(start, ends[place]):
            is_new = False
            for other in range(n_new):
                is_new |= recent[other] == histories[k]
            if not is_new:
                recent[n_recent] = histories[k]
                n_recent += 1
        start = ends[place]
        here = slice(end, end + most)
        features[here] = 0.0
        scores[here] = 0.0
        rows[:] = 0
        origins[:] = 0
        n = gather(
            actor,
            recent[:n_recent],
            steady,
            slow,
            tables,
            source_arrays,
            recipe_values,
            features[here],
            rows,
            origins,
            scores[here],
        )
        for k in range(n):
            keys[end + k] = items.keys[rows[k]]
        end += n
        list_ends[place] = end
    return list_ends
