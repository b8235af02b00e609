"""Compiled loop that gathers an actor's candidates, with their columns and scores.

    the board, the steady items, neighbours of last items ──> those the actor has not seen ──> columns, score

See `candidates` for the columns, and `candidate_kernels` for the scores.
"""

from typing import Any

import numpy as np
from numba import njit

from recommender.core.affinity.affinity_columns import BEHIND, D_LENGTH, Sources
from recommender.core.affinity.link_kernels import spot
from recommender.core.ranking.candidate_kernels import Float64s, Recipe, board_mass, strength
from recommender.core.tables.decay import combined, log2
from recommender.core.tables.hashing import Int8s, Int32s, Key, UInt64s, find, mix
from recommender.core.trend.trend_columns import Items, Leaders, Pairs

FROM_TREND, FROM_STEADY, FROM_NEIGHBOURS = 1, 2, 4  # bits of a candidate's origins


@njit(cache=True)
def _row_in(known: Int32s, rows: Int32s, row: int, n: int) -> tuple[int, int]:
    """Return an item's position among the n gathered rows, and the new n.

    A row that is not among them is added.
    """
    mask = known.size - 1
    slot = (row * 40503) & mask
    while known[slot] >= 0:
        if rows[known[slot]] == row:
            return known[slot], n
        slot = (slot + 1) & mask
    known[slot] = n
    rows[n] = row
    return n, n + 1


@njit(cache=True)
def gather(
    actor: Key,
    recent: UInt64s,
    steady: UInt64s,
    slow: int,
    tables: tuple[Any, ...],
    source_arrays: tuple[Any, ...],
    recipe_values: tuple[Any, ...],
    features: Float64s,
    rows: Int32s,
    origins: Int8s,
    scores: Float64s,
) -> int:
    """Write the candidates for an actor and return how many there are.

    recent: keys of the actor's last items, newest first.
    slow: the number of the half-life of the second column.
    See recommender.core.ranking.candidates for the columns.
    """
    sources, recipe = Sources(*source_arrays), Recipe(*recipe_values)
    pairs, items, leaders, epochs = Pairs(*tables[0]), Items(*tables[2]), Leaders(*tables[7]), tables[5][2]
    known = np.full(2 * rows.size, -1, np.int32)
    n = 0
    for place in range(leaders.size[0]):
        at, n = _row_in(known, rows, leaders.rows[place], n)
        origins[at] |= FROM_TREND
    for key in steady:
        row = find(items.slots, items.keys, key)
        if row >= 0:
            at, n = _row_in(known, rows, row, n)
            origins[at] |= FROM_STEADY
    for step in range(min(recent.size, recipe.recall.size)):
        row = find(sources.slots, sources.keys, recent[step])
        if row < 0:
            continue
        out = combined(sources.counts, row, 0, recipe.epoch)
        for place in range(sources.d[row, D_LENGTH]):
            listed = spot(sources.d, row, place)
            count, n_actors = sources.amount[listed], sources.linked[listed, BEHIND]
            item = find(items.slots, items.keys, sources.target[listed])
            if count < recipe.least or n_actors < recipe.min_actors or item < 0:
                continue
            at, n = _row_in(known, rows, item, n)
            says = strength(count, out, recipe)
            origins[at] |= FROM_NEIGHBOURS
            features[at, 3 if step == 0 else 4] += says
            features[at, 5] += recipe.recall[step] * says
            features[at, 6] = max(features[at, 6], np.float64(n_actors))
    mass = board_mass(leaders)
    kept = 0
    for i in range(n):
        row = rows[i]
        key = items.keys[row]
        is_recent = False
        for other in recent:
            is_recent |= other == key
        if is_recent or find(pairs.slots, pairs.keys, mix(actor, key)) >= 0:
            continue
        rows[kept], origins[kept] = row, origins[i]
        features[kept] = features[i]
        features[kept, 0] = leaders.score[row]
        features[kept, 1] = combined(items.counts, row, slow, epochs[slow])
        last = items.counts.shape[1] - 1
        features[kept, 2] = combined(items.counts, row, last, epochs[last])
        scores[kept] = leaders.score[row] / mass + recipe.blend * features[kept, 5]
        kept += 1
    for column in range(3):
        highest = 1.0
        for i in range(kept):
            highest = max(highest, features[i, column])
        for i in range(kept):
            features[i, column] = log2(1e-6 + max(features[i, column], 0.0) / highest)
    for i in range(kept):
        features[i, 6] = log2(1.0 + features[i, 6])
        features[i, 7] = 1.0 if origins[i] & FROM_NEIGHBOURS else 0.0
        features[i, 8] = 1.0 if origins[i] & FROM_TREND else 0.0
    return kept
