"""Queries and marks by the Pipeline on the features' memory between steps.

They find the recent acts to remove, count the items an actor has seen, and mark condemned or pardoned acts. All are
compiled, and nothing compiled calls them.
"""

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (
    A_FIRST,
    A_LAST,
    C_ITEMS,
    L_FIRST,
    L_LAST,
    L_N,
    M_COHORT,
    M_COHORT_MS,
    R_ACTOR,
    R_AT,
    R_IN_BURST,
    R_ITEM,
    R_NTH,
    R_ORDINAL,
    YOUNG_ITEMS,
    ActorRows,
    FeatureRows,
    Int64s,
    PairRows,
    UInt64s,
)
from recommender.core.features.feature_windows import row_of
from recommender.core.tables.decay import TICKS, decayed
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS
from recommender.core.tables.hashing import Key, find, mix

MINUTES = 60  # the past in which a surge of newcomers is sought
LEAST_MINUTES = 10  # with fewer known minutes, the usual number is unknown
WIDE = 1.5  # newcomers of a surge for each one of the crowd: at least a third of the surge never came to the item


@njit(cache=True)
def exposed_in(ring: Int64s, n: int, members: FeatureRows, cohort_after_ms: int) -> Int64s:
    """Return places in the ring of acts in bursts by exposed cohorts.

    A cohort counts if it was seen at `cohort_after_ms` or later.
    """
    found = np.empty(n, np.int64)
    size = 0
    for k in range(n):
        if not ring[k, R_IN_BURST] or ring[k, R_ORDINAL] < 0:
            continue
        row = find(members.slots, members.keys, np.uint64(ring[k, R_ACTOR]))
        if row >= 0 and members.c[row, M_COHORT] and members.c[row, M_COHORT_MS] >= cohort_after_ms:
            found[size] = k
            size += 1
    return found[:size]


@njit(cache=True)
def lonely_in(ring: Int64s, n: int, actors: ActorRows, item: Key, since_ms: int, from_nth: int) -> Int64s:
    """Return places in the ring of acts on an item by newcomers, since a time.

    With `from_nth` 0 these are the newcomers who have not acted since. Otherwise these are all newcomers for whom
    this was their item of that number or a later one, no matter how they acted since.
    """
    found = np.empty(n, np.int64)
    size = 0
    for k in range(n):
        if ring[k, R_ITEM] != np.int64(item) or ring[k, R_ORDINAL] < 0 or ring[k, R_AT] < since_ms:
            continue
        if from_nth:
            is_meant = ring[k, R_NTH] >= from_nth
        else:
            row = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
            is_meant = (
                row >= 0 and actors.counts[row, C_ITEMS] <= YOUNG_ITEMS and actors.c[row, A_LAST] <= ring[k, R_AT]
            )
        if is_meant:
            found[size] = k
            size += 1
    return found[:size]


@njit(cache=True)
def is_wide(ring: Int64s, n: int, actors: ActorRows, item: Key, now_ms: int) -> bool:
    """Return True if a crowd belongs to a surge of newcomers that went elsewhere too.

    Newcomers are counted by the minute of their first act on the site. The surge is their number beyond the usual:
    the median minute of the last hour, plus two deviations. The crowd is the item's part of them beyond its usual
    part, the lower quartile. If enough of the surge never came to the item, the surge is wide.

    A crowd that was sent to one item is its own surge, however many other items its accounts visit. A campus is
    larger than any one item's part of it. If the ring does not reach back far enough, the answer is unknown, and so
    False. One pass over the ring, 0.1 ms.
    """
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
def mark_pairs(pairs: PairRows, acting: UInt64s, acted_on: UInt64s, mark: int) -> None:
    """Mark the acts of these actors on these items.

    IS_CONDEMNED condemns every later act there. UNMARKED removes the mark.
    """
    for i in range(acting.size):
        pair = find(pairs.slots, pairs.keys, mix(acting[i], acted_on[i]))
        if pair >= 0:
            pairs.mark[pair] = mark


@njit(cache=True)
def items_of(actors: ActorRows, wanted: UInt64s) -> Int64s:
    """Count the different items each actor has acted on, int64 (n,), 0 if unknown."""
    counts = np.zeros(wanted.size, np.int64)
    for i in range(wanted.size):
        row = find(actors.slots, actors.keys, wanted[i])
        if row >= 0:
            counts[i] = actors.counts[row, C_ITEMS]
    return counts


@njit(cache=True)
def forget_acts(acting: UInt64s, acted_on: UInt64s, members: FeatureRows, ring: Int64s, n: int) -> None:
    """Remove acts of these pairs from the ring, and these actors from their cohorts."""
    for i in range(acting.size):
        row = find(members.slots, members.keys, acting[i])
        if row >= 0:
            members.c[row, M_COHORT] = members.c[row, M_COHORT_MS] = 0
        for k in range(n):
            if ring[k, R_ACTOR] == np.int64(acting[i]) and ring[k, R_ITEM] == np.int64(acted_on[i]):
                ring[k, R_ORDINAL] = -1


@njit(cache=True)
def mark_cohort(actors: ActorRows, members: FeatureRows, marked: UInt64s, now_ms: int) -> None:
    """Mark those of these actors that have a row as a cohort seen now.

    The caller has made room.
    """
    for i in range(marked.size):
        if find(actors.slots, actors.keys, marked[i]) >= 0:
            row = row_of(members, marked[i])
            members.c[row, M_COHORT] = members.c[row, M_COHORT_MS] = now_ms


@njit(cache=True)
def links_that_matter(links: FeatureRows, now_ms: int) -> Int64s:
    """Return the rows of links that differ from a link that never was, ascending.

    A link matters while its count is above 0. A site's link with a prefix matters for good, since it tells since when
    the prefix is known.
    """
    kept = np.empty(links.size[0], np.int64)
    n = 0
    for row in range(links.size[0]):
        elapsed = max(now_ms - links.c[row, L_LAST], 0)
        if links.c[row, L_FIRST] != 0 or decayed(links.c[row, L_N], elapsed * TICKS // HOUR_MS) > 0:
            kept[n] = row
            n += 1
    return kept[:n]
