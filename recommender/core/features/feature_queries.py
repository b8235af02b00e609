"""What the Pipeline asks of the features' memory between steps, and marks in it: whose recent acts to take back, how
many items an actor has seen, whose acts were condemned or pardoned. Compiled; nothing compiled calls it.
"""

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (
    A_COHORT,
    A_COHORT_MS,
    A_FIRST,
    A_ITEMS,
    A_LAST,
    L_FIRST,
    R_ACTOR,
    R_AT,
    R_IN_BURST,
    R_ITEM,
    R_NTH,
    R_ORDINAL,
    YOUNG_ITEMS,
    Int64s,
    FeatureRows,
    UInt64s,
)
from recommender.core.vocabulary import MINUTE_MS
from recommender.core.tables.hashing import Key, find, mix

MINUTES = 60  # how far back a surge of newcomers is looked at
LEAST_MINUTES = 10  # below which its usual number is unknown
WIDE = 1.5  # newcomers to each who came to the item: more than as many again, half, went elsewhere only


@njit(cache=True)
def exposed_in(ring: Int64s, n: int, actors: FeatureRows, cohort_after_ms: int) -> Int64s:
    """Places in the ring of acts in bursts whose actors are known as a cohort since then."""
    found = np.empty(n, np.int64)
    size = 0
    for k in range(n):
        if not ring[k, R_IN_BURST] or ring[k, R_ORDINAL] < 0:
            continue
        row = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
        if row >= 0 and actors.c[row, A_COHORT] and actors.c[row, A_COHORT_MS] >= cohort_after_ms:
            found[size] = k
            size += 1
    return found[:size]


@njit(cache=True)
def lonely_in(ring: Int64s, n: int, actors: FeatureRows, item: Key, since_ms: int, from_nth: int) -> Int64s:
    """Places in the ring of acts on an item since then by newcomers who have not acted after; those whose item of
    that number (0: none's) or a later one it was, whatever they did after."""
    found = np.empty(n, np.int64)
    size = 0
    for k in range(n):
        if ring[k, R_ITEM] != np.int64(item) or ring[k, R_ORDINAL] < 0 or ring[k, R_AT] < since_ms:
            continue
        if from_nth:
            is_meant = ring[k, R_NTH] >= from_nth
        else:
            row = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
            is_meant = row >= 0 and actors.c[row, A_ITEMS] <= YOUNG_ITEMS and actors.c[row, A_LAST] <= ring[k, R_AT]
        if is_meant:
            found[size] = k
            size += 1
    return found[:size]


@njit(cache=True)
def is_wide(ring: Int64s, n: int, actors: FeatureRows, item: Key, now_ms: int) -> bool:
    """Did the surge of newcomers that a crowd came with go elsewhere as well, without ever coming to its item?

    By the minutes in which the item's newcomers first acted on the site: of all who did so then, those beyond the
    usual (the median minute of the last hour, and two deviations of it) are the surge, and of the item's own those
    beyond what it has at any time (the lower quartile) the crowd. A crowd sent to one item is its own surge, however
    many other items its accounts visit besides; a campus is larger than any item's part of it. Unknown, and so
    False, where the ring does not reach back far enough. A pass over the ring, 0.1 ms."""
    began, came = np.zeros(MINUTES, np.int64), np.zeros(MINUTES, np.int64)
    oldest_ms = now_ms
    for k in range(n):
        at_ms = ring[k, R_AT]
        oldest_ms = min(oldest_ms, at_ms)
        ago = (now_ms - at_ms) // MINUTE_MS
        if not ring[k, R_NTH] or ago < 0 or ago >= MINUTES:
            continue
        if ring[k, R_NTH] == 1:
            began[ago] += 1
        if ring[k, R_ITEM] != np.int64(item):
            continue
        row = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
        if row >= 0:
            came[min(max(now_ms - actors.c[row, A_FIRST], 0) // MINUTE_MS, MINUTES - 1)] += 1
    known = min(MINUTES, (now_ms - oldest_ms) // MINUTE_MS)
    if known < LEAST_MINUTES:
        return False
    usual = np.sort(began[:known])[known // 2]
    usual_at_most = usual + 2.0 * np.sqrt(usual)
    crowd = came[:known] - np.sort(came[:known])[known // 4]
    surge, n_crowd = 0.0, 0
    for minute in range(known):
        if crowd[minute] > 0 and 4 * crowd[minute] >= crowd.max():
            surge += began[minute] - usual_at_most
            n_crowd += crowd[minute]
    return n_crowd > 0 and surge >= WIDE * n_crowd


@njit(cache=True)
def mark_pairs(pairs: FeatureRows, acting: UInt64s, acted_on: UInt64s, mark: int) -> None:
    """Put a mark on what these actors did on these items: L_SHUNNED (whatever they do there again is condemned), or a
    time, which takes the mark away."""
    for i in range(acting.size):
        pair = find(pairs.slots, pairs.keys, mix(acting[i], acted_on[i]))
        if pair >= 0:
            pairs.c[pair, L_FIRST] = mark


@njit(cache=True)
def items_of(actors: FeatureRows, wanted: UInt64s) -> Int64s:
    """How many different items each of these actors has acted on, int64 (n,); 0 for one unknown."""
    counts = np.zeros(wanted.size, np.int64)
    for i in range(wanted.size):
        row = find(actors.slots, actors.keys, wanted[i])
        if row >= 0:
            counts[i] = actors.c[row, A_ITEMS]
    return counts


@njit(cache=True)
def forget_acts(acting: UInt64s, acted_on: UInt64s, actors: FeatureRows, ring: Int64s, n: int) -> None:
    """Take acts of these pairs out of the ring, and these actors out of their cohorts."""
    for i in range(acting.size):
        row = find(actors.slots, actors.keys, acting[i])
        if row >= 0:
            actors.c[row, A_COHORT] = actors.c[row, A_COHORT_MS] = 0
        for k in range(n):
            if ring[k, R_ACTOR] == np.int64(acting[i]) and ring[k, R_ITEM] == np.int64(acted_on[i]):
                ring[k, R_ORDINAL] = -1
