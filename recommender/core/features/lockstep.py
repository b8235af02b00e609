"""Lockstep: the same accounts together again, on another item.

    burst of a rare item ──> each clicker's last bursts ──> which earlier one do these have in common?
                                                             │ at least half of this burst, and much of that one,
                                                             │ and more than bursts of this site do
                                                             v
                                       one cohort (union-find), its members known for days

Compiled, and called by feature_kernels.observe.

**Chance and habit.** On a small site everybody meets again. Readers of one story go on to the next, so a burst shares
half of its readers with the story before. But the story's readers scatter, and only a few of *them* come along. A
group under one command is the same group both times. So a meeting counts only if it also covers a share of the
earlier burst, `lockstep_cover` of it. Half of that is enough if the two are more than half an hour apart, in
different visits. This
keeps popular bursts safe: a thousand readers of one story never come to a rare item together.

**The site's own baseline.** The share of a burst that met before is measured when the burst has 8, 16, 32 ...
clickers. The site keeps its exponentially weighted mean and variance. A share counts if it reaches `lockstep_share`
and that mean plus four deviations. TOP_SHARE is always enough, and the only limit while fewer than
MEETINGS shares are known. So no one can teach the site to find lockstep normal.
"""

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (
    ActorRows, B_ITEM, B_N, B_PARENT, B_START, IS_LOCKSTEP, LOOK_BACK, M_BURSTS, M_COHORT, M_COHORT_MS, M_NEXT_BURST,
    N_BURSTS, N_ROOTS, ONE, R_ACTOR, R_AT, R_IN_BURST, R_ITEM, S_MEET, S_MEET2, S_MEETINGS, V_COUNTS, V_EXPOSED, V_ID,
    V_LAST, V_MET, V_N, V_ROOTS, V_START, FeatureRows, Int64s, Limits,
)  # fmt: skip
from recommender.core.features.feature_windows import row_of
from recommender.core.tables.hashing import Key, find, mix
from recommender.core.vocabulary import MINUTE_MS

MEETINGS = 16
TOP_SHARE = 0.85
APART_MS = 30 * MINUTE_MS


@njit(cache=True)
def root_of(bursts: FeatureRows, burst: int) -> int:
    """Return the cohort a burst belongs to (union-find with path halving).

    A forgotten burst is its own cohort.
    """
    row = find(bursts.slots, bursts.keys, np.uint64(burst))
    while row >= 0:
        parent = bursts.c[row, B_PARENT]
        if parent == burst:
            break
        above = find(bursts.slots, bursts.keys, np.uint64(parent))
        if above < 0:
            return parent
        bursts.c[row, B_PARENT] = bursts.c[above, B_PARENT]
        burst, row = parent, above
    return burst


@njit(cache=True)
def least_share(s: Int64s, limits: Limits) -> float:
    """Return the least share of a burst that must have met before.

    It follows from the site's own meetings.
    """
    if s[S_MEETINGS] < MEETINGS:
        return TOP_SHARE
    mean = s[S_MEET] / ONE
    deviation = np.sqrt(max(0.0, s[S_MEET2] / ONE - mean * mean))
    return min(TOP_SHARE, max(limits.lockstep_share, mean + 4.0 * deviation))


@njit(cache=True)
def _covers(bursts: FeatureRows, root: int, n: int, now_ms: int, limits: Limits) -> bool:
    """Return True if n clickers are a fair part of an earlier burst."""
    row = find(bursts.slots, bursts.keys, np.uint64(root))
    if row < 0:
        return False
    cover = limits.lockstep_cover if now_ms - bursts.c[row, B_START] < APART_MS else 0.5 * limits.lockstep_cover
    return n >= cover * bursts.c[row, B_N]


@njit(cache=True)
def _note_meeting(c: Int64s, bursts: FeatureRows, s: Int64s, now_ms: int, limits: Limits) -> None:
    """Enter a burst's share of meetings into the site's.

    The share is clipped, so that one burst moves the site's by little.
    """
    best = 0
    for j in range(N_ROOTS):
        if c[V_COUNTS + j] > best and _covers(bursts, c[V_ROOTS + j], c[V_COUNTS + j], now_ms, limits):
            best = c[V_COUNTS + j]
    clip = np.int64(ONE * min(1.0, least_share(s, limits) + 0.05))
    share = min(ONE * best // c[V_N], clip)
    square = share * share // ONE
    if s[S_MEETINGS] == 0:
        s[S_MEET], s[S_MEET2] = share, square
    s[S_MEETINGS] += 1
    s[S_MEET] += (share - s[S_MEET]) >> 5
    s[S_MEET2] += (square - s[S_MEET2]) >> 5


@njit(cache=True)
def _join(
    m: Int64s, c: Int64s, bursts: FeatureRows, s: Int64s, item: Key, now_ms: int, limits: Limits
) -> tuple[int, int]:
    """Enter a member (its row) into a burst (its row).

    Returns the size of the largest group that the actor shares an earlier burst of another item with, and its cohort.
    Only a group that covers its earlier burst counts.

    Each actor remembers its last N_BURSTS bursts. A burst counts, for each earlier one (joined by cohort), how many
    of its clickers were there too (Misra-Gries, N_ROOTS counters, never too high). O(N_BURSTS * N_ROOTS).
    """
    c[V_N] += 1
    own = find(bursts.slots, bursts.keys, np.uint64(c[V_ID]))
    if own >= 0:
        bursts.c[own, B_N] += 1
    best, best_root = 0, 0
    for k in range(N_BURSTS):
        if m[M_BURSTS + k] == 0:
            continue
        past = find(bursts.slots, bursts.keys, np.uint64(m[M_BURSTS + k]))
        if past < 0 or bursts.c[past, B_ITEM] == np.int64(item):
            continue
        root = root_of(bursts, m[M_BURSTS + k])
        is_counted = False
        for j in range(k):
            if m[M_BURSTS + j] != 0 and root_of(bursts, m[M_BURSTS + j]) == root:
                is_counted = True
        if is_counted:
            continue
        place, free = -1, -1
        for j in range(N_ROOTS):
            if c[V_COUNTS + j] > 0 and c[V_ROOTS + j] == root:
                place = j
            elif c[V_COUNTS + j] == 0 and free < 0:
                free = j
        if place < 0 and free < 0:
            for j in range(N_ROOTS):
                c[V_COUNTS + j] -= 1
            continue
        if place < 0:
            place = free
            c[V_ROOTS + place] = root
        c[V_COUNTS + place] += 1
        count = c[V_COUNTS + place]
        is_known = c[V_EXPOSED] != 0 and root == root_of(bursts, c[V_ID])
        is_group = count >= limits.lockstep_n and (is_known or _covers(bursts, root, count, now_ms, limits))
        if is_group and count > best:
            best, best_root = count, root
    c[V_MET] = max(c[V_MET], best)
    m[M_BURSTS + m[M_NEXT_BURST]] = c[V_ID]
    m[M_NEXT_BURST] = (m[M_NEXT_BURST] + 1) % N_BURSTS
    if c[V_N] >= 8 and c[V_N] & (c[V_N] - 1) == 0:
        _note_meeting(c, bursts, s, now_ms, limits)
    return best, best_root


@njit(cache=True)
def meet(
    actors: ActorRows,
    members: FeatureRows,
    row: int,
    live: FeatureRows,
    bursts: FeatureRows,
    s: Int64s,
    ring: Int64s,
    ring_size: Int64s,
    item: Key,
    now_ms: int,
    limits: Limits,
) -> int:
    """Enter a member (its row) into an item's burst, and check for lockstep.

    Returns IS_LOCKSTEP if these clickers were together before, otherwise 0. The first actor founds the burst. Actors
    who came to the item in the minute before join it then, from the ring's last acts.
    """
    c = live.c[row_of(live, item)]
    if c[V_START] == 0 or now_ms - c[V_START] > 2 * MINUTE_MS:
        c[:] = 0
        c[V_ID] = np.int64(mix(item, np.uint64(now_ms)))
        c[V_START] = now_ms
        made = row_of(bursts, np.uint64(c[V_ID]))
        bursts.c[made, B_PARENT] = c[V_ID]
        bursts.c[made, B_START] = now_ms
        bursts.c[made, B_ITEM] = np.int64(item)
        for back in range(1, min(ring_size[0], ring.shape[0], LOOK_BACK) + 1):
            earlier = ring[(ring_size[0] - back) % ring.shape[0]]
            if earlier[R_AT] < now_ms - MINUTE_MS:
                break
            if earlier[R_ITEM] == np.int64(item):
                other = find(actors.slots, actors.keys, np.uint64(earlier[R_ACTOR]))
                if other >= 0:
                    member = members.c[row_of(members, actors.keys[other])]
                    _join(member, c, bursts, s, item, now_ms, limits)
                    earlier[R_IN_BURST] = 1
    c[V_LAST] = now_ms
    m = members.c[row]
    best, best_root = _join(m, c, bursts, s, item, now_ms, limits)
    if best < limits.lockstep_n or best < least_share(s, limits) * c[V_N]:
        return 0
    _unite(bursts, root_of(bursts, c[V_ID]), best_root)
    m[M_COHORT], m[M_COHORT_MS] = best_root, now_ms
    if not c[V_EXPOSED]:
        c[V_EXPOSED] = 1
        for k in range(min(ring_size[0], ring.shape[0])):
            if ring[k, R_ITEM] == np.int64(item):
                other = find(members.slots, members.keys, np.uint64(ring[k, R_ACTOR]))
                if other >= 0 and _was_in(members.c[other], bursts, best_root, c[V_ID]):
                    members.c[other, M_COHORT], members.c[other, M_COHORT_MS] = best_root, now_ms
    return IS_LOCKSTEP


@njit(cache=True)
def _unite(bursts: FeatureRows, own: int, root: int) -> None:
    """Join two bursts into one cohort. It gets the larger size and the present time."""
    if own == root:
        return
    mine, theirs = find(bursts.slots, bursts.keys, np.uint64(own)), find(bursts.slots, bursts.keys, np.uint64(root))
    if mine < 0 or theirs < 0:
        return
    bursts.c[mine, B_PARENT] = root
    bursts.c[theirs, B_N] = max(bursts.c[theirs, B_N], bursts.c[mine, B_N])
    bursts.c[theirs, B_START] = max(bursts.c[theirs, B_START], bursts.c[mine, B_START])


@njit(cache=True)
def _was_in(m: Int64s, bursts: FeatureRows, root: int, but: int) -> bool:
    """Return True if a member took part in another burst of a cohort.

    but: the burst that does not count.
    """
    for k in range(N_BURSTS):
        burst = m[M_BURSTS + k]
        if burst not in (0, but) and root_of(bursts, burst) == root:
            return True
    return False
