"""The compiled loop of the features: one pass over a batch in log order, every event met by what came before it.

    event ──> actor ──┐
         └──> item ───┼──> FEATURES in [0, 1], 0 = nothing against it ──> out (n, N_FEATURES)
         └──> prefix ─┘
         └──> burst of a rare item ──> who was here before, together? ──> lockstep, cohort

State is integers in one int64 matrix a table, counts in ONE = 2**16, decayed by `kernels.decayed`; features are
divisions and square roots of them, which are exact in IEEE arithmetic, so the same history has the same state and the
same verdicts on every machine. One event costs four to eight probes of hash tables: 0.5 us.

It stands beside kernels.py and not in it: Numba's cache on disk notices a change of the file a function stands in.
What is imported from there (find, add, mix, decayed) is stable.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.kernels import TICKS, Actors, Key, TrustRules, add, decayed, find, mix

Float64s = NDArray[np.float64]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Int8s = NDArray[np.int8]
UInt64s = NDArray[np.uint64]

ONE = 1 << 16
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
SESSION_MS = 1_800_000  # an actor silent for longer begins a new session
IMPUTED_GAP_MS = 30_000  # logs stamp the last click of a session exactly so long after the one before
EXPOSURE, UNDO = 8, 9  # core.events.Kind

FEATURES = (
    *("repeat", "concentration", "newness", "regular", "undo", "shallow"),  # of the actor
    *("burst", "rise", "novel", "fresh", "direct", "metronome", "overlap"),  # of the item's window
    *("prefix", "new_prefix", "agent"),  # of the network the event came from
)
REPEAT, CONCENTRATION, NEWNESS, REGULAR, UNDONE, SHALLOW = range(6)
BURST, RISE, NOVEL, FRESH, DIRECT, METRONOME, OVERLAP, PREFIX, NEW_PREFIX, AGENT = range(6, 16)
N_FEATURES = len(FEATURES)

# columns of the actors' matrix
A_LAST, A_FIRST, A_N, A_UNDOS, A_TOP, A_TOP_N, A_GAPS, A_GAP, A_GAP2 = range(9)
A_SESSION, A_IN_SESSION, A_ITEMS, A_COHORT, A_COHORT_MS, A_NEXT_BURST, A_BURSTS = range(9, 15 + 1)
N_BURSTS = 6  # the last bursts an actor took part in
N_ACTOR = A_BURSTS + N_BURSTS
# of the items', the site's too
I_LAST, I_N1M, I_N1H, I_N24H, I_NOVEL1M, I_NOVEL1H, I_FRESH1H, I_DIRECT1H, I_REFERRED1H = range(9)
I_ARRIVALS, I_GAP, I_GAP2, I_PREFIXED1H, I_NEWPREFIX1H, I_AGENTS1H, I_BEGUN24H, I_RETURNED24H = range(9, 17)
I_CONDEMNED = 17  # until when newcomers who go nowhere else are not believed
I_EXPECTED24H, I_CAME24H = 18, 19  # held newcomers expected to go on, those who did
I_YOUNG1M, I_YOUNG1H, I_YOUNG24H, I_WENTON24H = range(20, 24)
N_ITEM = 24
BY_HOUR = (I_N1H, I_NOVEL1H, I_FRESH1H, I_DIRECT1H, I_REFERRED1H, I_PREFIXED1H, I_NEWPREFIX1H, I_AGENTS1H, I_YOUNG1H)
BY_DAY = (I_N24H, I_BEGUN24H, I_RETURNED24H, I_EXPECTED24H, I_CAME24H, I_YOUNG24H, I_WENTON24H)
# of what links an item to a prefix or an agent, a prefix or an agent to the site, an actor to an item
L_LAST, L_N, L_FIRST = range(3)
N_LINK = 3
# of bursts going on, by item: a count for each earlier burst its clickers have in common
V_ID, V_START, V_N, V_LAST, V_EXPOSED, V_ROOTS = range(6)
N_ROOTS = 16
V_COUNTS = V_ROOTS + N_ROOTS
N_LIVE = V_COUNTS + N_ROOTS
B_PARENT, B_START = range(2)
N_BURST = 2
# of the ring of recent first acts
R_ACTOR, R_ITEM, R_ORDINAL, R_IN_BURST, R_AT = range(5)
N_RING = 5
LOOK_BACK = 4096
YOUNG_ITEMS = 3  # an actor is a newcomer on its first so many items ...
YOUNG_MS = HOUR_MS  # ... within so long of its first act

IS_ACTIVE, IS_BURST, IS_NOVEL, IS_CROWD, IS_LOCKSTEP, IS_COHORT, IS_FLOOD, IS_REGULAR, IS_NETWORK, IS_ASKED = (
    1 << bit for bit in range(10)
)
TO_DECIDE = IS_CROWD | IS_LOCKSTEP | IS_COHORT | IS_FLOOD | IS_NETWORK | IS_ASKED


class Rows(NamedTuple):
    """A Table with its one matrix."""

    slots: Int32s
    keys: UInt64s
    size: Int64s
    c: Int64s


class Acts(NamedTuple):
    """The columns of a batch that the features look at. `is_seen`: 0 = leave this event out."""

    received_ms: Int64s
    actor: UInt64s
    item: UInt64s
    kind: Int8s
    session: UInt64s
    prefix: UInt64s
    agent: UInt64s
    referrer: UInt64s
    is_seen: Int8s


class Limits(NamedTuple):
    """The thresholds of core.screen.ScreenConfig that the loop needs."""

    burst_n: int
    burst_z: float
    crowd_n: int
    crowd_share: float
    crowd_z: float
    lockstep_n: int
    lockstep_share: float
    cohort_ms: int
    flood_n: int
    return_ms: int


@njit(cache=True)
def _fade(c: Int64s, row: int, column: int, elapsed_ms: int, half_ms: int) -> None:
    if c[row, column]:
        c[row, column] = decayed(c[row, column], elapsed_ms * TICKS // half_ms)


@njit(cache=True)
def fade_window(c: Int64s, row: int, now_ms: int) -> None:
    """Bring an item's (or the site's) counts to now."""
    elapsed = now_ms - c[row, I_LAST]
    if elapsed <= 0:
        return
    c[row, I_LAST] = now_ms
    for column in (I_N1M, I_NOVEL1M, I_YOUNG1M):
        _fade(c, row, column, elapsed, MINUTE_MS)
    for column in BY_HOUR:
        _fade(c, row, column, elapsed, HOUR_MS)
    for column in BY_DAY:
        _fade(c, row, column, elapsed, DAY_MS)


@njit(cache=True)
def excess(part: int, whole: int, site_part: int, site_whole: int) -> float:
    """By how much a share passes the rest of the site's, shrunk for few: in [0, 1]. Without a site to compare with,
    the site's share is taken for 1, and nothing is in excess."""
    rest = site_whole - whole
    share = (max(site_part - part, 0) + 8.0 * ONE) / (max(rest, 0) + 8.0 * ONE)
    share = min(share, 1.0)
    return max(0.0, (part - share * whole) / (whole + 8.0 * ONE))


@njit(cache=True)
def is_crowd(part: int, whole: int, site_part: int, site_whole: int, limits: Limits) -> bool:
    """Are far more of a window's clickers of one sort than the site's would let expect?"""
    if whole < limits.crowd_n * ONE:
        return False
    share = (max(site_part - part, 0) + 8.0 * ONE) / (max(site_whole - whole, 0) + 8.0 * ONE)
    share = min(share, 1.0)
    n, k = whole / ONE, part / ONE
    if k < n * (share + (1.0 - share) * limits.crowd_share):
        return False
    return k - n * share >= limits.crowd_z * np.sqrt(n * share * (1.0 - share) + 1.0)


@njit(cache=True)
def regularity(gap: int, gap2: int, n: int, at_least: int) -> float:
    """1 - (squared coefficient of variation of the gaps), not below 0; 0 with too few of them. Random arrivals: 0."""
    if n < at_least or gap <= 0:
        return 0.0
    mean = gap / 256.0
    return min(1.0, max(0.0, 1.0 - max(0.0, gap2 - mean * mean) / (mean * mean)))


@njit(cache=True)
def surprise(n: int, expected: float) -> float:
    """How many standard deviations a count passes what was expected."""
    return max(0.0, (n / ONE - expected) / np.sqrt(expected + 1.0))


@njit(cache=True)
def is_odd(x: Float64s) -> bool:
    """Does a window differ from the rest of the site in anything but its rise? Only then a forest is asked."""
    return (
        max(x[NOVEL], x[FRESH], x[PREFIX]) >= 0.15
        or max(x[DIRECT], x[OVERLAP], x[NEW_PREFIX], x[AGENT]) >= 0.25
        or x[METRONOME] >= 0.5
    )


@njit(cache=True)
def newness_of(trusted: Actors, rules: TrustRules, actor: Key, now_ms: int) -> int:
    """1 - what the actor has earned of full trust, in ONE; as kernels._trust would find it, without a change."""
    row = find(trusted.slots, trusted.keys, actor)
    if row < 0:
        return ONE
    earned = trusted.earned[row]
    idle_ms = now_ms - trusted.day_ms[row] - rules.day_ms
    if idle_ms >= 0:
        earned = min(earned + trusted.pending[row], rules.full)
        earned = decayed(earned, idle_ms * TICKS // rules.idle_half_ms)
    return ONE - ONE * earned // rules.full


@njit(cache=True)
def _row(rows: Rows, key: Key) -> int:
    """The row of a key, made empty where it has none."""
    row = find(rows.slots, rows.keys, key)
    if row < 0:
        row = add(rows.slots, rows.keys, rows.size, key)
        rows.c[row] = 0
    return row


@njit(cache=True)
def _count(rows: Rows, key: Key, now_ms: int, half_ms: int) -> int:
    """Count a link once more; its row."""
    row = _row(rows, key)
    if rows.c[row, L_FIRST] == 0:
        rows.c[row, L_FIRST] = now_ms
    elapsed = now_ms - rows.c[row, L_LAST]
    if elapsed > 0:
        _fade(rows.c, row, L_N, elapsed, half_ms)
        rows.c[row, L_LAST] = now_ms
    rows.c[row, L_N] += ONE
    return row


@njit(cache=True)
def root_of(bursts: Rows, burst: int) -> int:
    """The cohort a burst belongs to (union-find with path halving); a forgotten burst is its own."""
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
def _join(a: Int64s, c: Int64s, bursts: Rows) -> tuple[int, int]:
    """Enter an actor (its row) into a burst (its row); the largest group it shares an earlier burst with, and which.

    Each actor remembers its last N_BURSTS bursts; a burst counts, for each earlier one (joined by cohort), how many
    of its clickers were there too (Misra-Gries, N_ROOTS counters, never too high). O(N_BURSTS * N_ROOTS)."""
    c[V_N] += 1
    best, best_root = 0, 0
    for k in range(N_BURSTS):
        if a[A_BURSTS + k] == 0:
            continue
        root = root_of(bursts, a[A_BURSTS + k])
        is_counted = False
        for j in range(k):
            if a[A_BURSTS + j] != 0 and root_of(bursts, a[A_BURSTS + j]) == root:
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
        if c[V_COUNTS + place] > best:
            best, best_root = c[V_COUNTS + place], root
    a[A_BURSTS + a[A_NEXT_BURST]] = c[V_ID]
    a[A_NEXT_BURST] = (a[A_NEXT_BURST] + 1) % N_BURSTS
    return best, best_root


@njit(cache=True)
def _meet(
    actors: Rows,
    row: int,
    live: Rows,
    bursts: Rows,
    ring: Int64s,
    ring_size: Int64s,
    item: Key,
    now_ms: int,
    limits: Limits,
) -> int:
    """An actor takes part in an item's burst: were those here together before? 0, or IS_LOCKSTEP.

    The first finds the burst; who came to the item in the minute before joins it then, from the ring's last acts."""
    at = _row(live, item)
    c = live.c[at]
    if c[V_START] == 0 or now_ms - c[V_START] > 2 * MINUTE_MS:
        c[:] = 0
        c[V_ID] = np.int64(mix(item, np.uint64(now_ms)))
        c[V_START] = now_ms
        made = _row(bursts, np.uint64(c[V_ID]))
        bursts.c[made, B_PARENT] = c[V_ID]
        bursts.c[made, B_START] = now_ms
        for back in range(1, min(ring_size[0], ring.shape[0], LOOK_BACK) + 1):
            earlier = ring[(ring_size[0] - back) % ring.shape[0]]
            if earlier[R_AT] < now_ms - MINUTE_MS:
                break
            if earlier[R_ITEM] == np.int64(item):
                other = find(actors.slots, actors.keys, np.uint64(earlier[R_ACTOR]))
                if other >= 0:
                    _join(actors.c[other], c, bursts)
                    earlier[R_IN_BURST] = 1
    c[V_LAST] = now_ms
    a = actors.c[row]
    best, best_root = _join(a, c, bursts)
    if best < limits.lockstep_n or best < limits.lockstep_share * c[V_N]:
        return 0
    own = root_of(bursts, c[V_ID])
    if own != best_root:
        bursts.c[find(bursts.slots, bursts.keys, np.uint64(own)), B_PARENT] = best_root
    a[A_COHORT], a[A_COHORT_MS] = best_root, now_ms
    if not c[V_EXPOSED]:
        c[V_EXPOSED] = 1
        for k in range(ring_size[0] if ring_size[0] < ring.shape[0] else ring.shape[0]):
            if ring[k, R_ITEM] == np.int64(item):
                other = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
                if other >= 0 and _was_in(actors.c[other], bursts, best_root, c[V_ID]):
                    actors.c[other, A_COHORT], actors.c[other, A_COHORT_MS] = best_root, now_ms
    return IS_LOCKSTEP


@njit(cache=True)
def _was_in(a: Int64s, bursts: Rows, root: int, but: int) -> bool:
    """Has an actor taken part in a burst of a cohort, other than this one?"""
    for k in range(N_BURSTS):
        burst = a[A_BURSTS + k]
        if burst not in (0, but) and root_of(bursts, burst) == root:
            return True
    return False


@njit(cache=True)
def observe(  # noqa: PLR0912, PLR0915 - one loop over the batch: splitting it would pass forty arrays on
    acts: Acts,
    actors: Rows,
    pairs: Rows,
    items: Rows,
    links: Rows,
    live: Rows,
    bursts: Rows,
    site: Int64s,
    ring: Int64s,
    ring_size: Int64s,
    trusted: Actors,
    rules: TrustRules,
    limits: Limits,
    ordinal: int,
    out: Float64s,
    flags: Int32s,
) -> int:
    """Enter a batch; features into `out`, what was found into `flags`. Returns how many events have a flag of
    TO_DECIDE: for all others the verdict is clear."""
    n_flagged = 0
    for i in range(acts.item.size):
        kind = acts.kind[i]
        if kind == EXPOSURE or not acts.is_seen[i]:
            continue
        now_ms, item = acts.received_ms[i], acts.item[i]
        n_actors = actors.size[0]
        row = _row(actors, acts.actor[i])
        a = actors.c[row]
        if row == n_actors:
            a[A_FIRST] = a[A_LAST] = now_ms
        gap = max(now_ms - a[A_LAST], 0)
        if gap:
            _fade(actors.c, row, A_N, gap, DAY_MS)
            _fade(actors.c, row, A_TOP_N, gap, DAY_MS)
            _fade(actors.c, row, A_UNDOS, gap, DAY_MS)
            a[A_LAST] = now_ms
            if gap < SESSION_MS and gap != IMPUTED_GAP_MS:
                if a[A_GAPS] == 0:
                    a[A_GAP], a[A_GAP2] = gap * 256, gap * gap
                a[A_GAPS] += 1
                a[A_GAP] += (gap * 256 - a[A_GAP]) >> 3
                a[A_GAP2] += (gap * gap - a[A_GAP2]) >> 3
        a[A_N] += ONE
        x = out[i]
        if kind == UNDO:
            a[A_UNDOS] += ONE
            continue

        n_pairs = pairs.size[0]
        pair = _count(pairs, mix(acts.actor[i], item), now_ms, DAY_MS)
        is_first = pair == n_pairs
        session = np.int64(acts.session[i])
        if gap >= SESSION_MS or (session != 0 and session != a[A_SESSION]):
            a[A_IN_SESSION] = 0
        a[A_SESSION] = session
        is_novel = is_first and a[A_ITEMS] == 0
        is_young = is_first and a[A_ITEMS] < YOUNG_ITEMS and now_ms - a[A_FIRST] <= YOUNG_MS
        if is_first:
            a[A_ITEMS] += 1
            a[A_IN_SESSION] += 1
        if a[A_TOP] == np.int64(item):
            a[A_TOP_N] += ONE
        elif a[A_TOP_N] < ONE:
            a[A_TOP], a[A_TOP_N] = np.int64(item), ONE
        else:
            a[A_TOP_N] -= ONE // 2
        newness = newness_of(trusted, rules, acts.actor[i], now_ms)

        at = _row(items, item)
        w = items.c[at]
        last_ms = w[I_LAST]
        fade_window(items.c, at, now_ms)
        fade_window(site, 0, now_ms)
        s = site[0]
        if is_first:
            if last_ms and now_ms > last_ms:
                arrival = min(now_ms - last_ms, HOUR_MS)
                if w[I_ARRIVALS] == 0:
                    w[I_GAP], w[I_GAP2] = arrival * 256, arrival * arrival
                w[I_ARRIVALS] += 1
                w[I_GAP] += (arrival * 256 - w[I_GAP]) >> 4
                w[I_GAP2] += (arrival * arrival - w[I_GAP2]) >> 4
            for c in (w, s):
                c[I_N1M] += ONE
                c[I_N1H] += ONE
                c[I_N24H] += ONE
                c[I_FRESH1H] += newness
                if is_novel:
                    c[I_NOVEL1M] += ONE
                    c[I_NOVEL1H] += ONE
                if is_young:
                    c[I_YOUNG1M] += ONE
                    c[I_YOUNG1H] += ONE
                if acts.referrer[i]:
                    c[I_REFERRED1H] += ONE
                    c[I_DIRECT1H] += ONE if acts.referrer[i] == 1 else 0
            if is_novel:
                s[I_BEGUN24H] += ONE
            if is_young:
                s[I_YOUNG24H] += ONE
            if gap <= limits.return_ms and 2 <= a[A_ITEMS] <= YOUNG_ITEMS + 1:
                s[I_WENTON24H] += ONE
                s[I_RETURNED24H] += ONE if a[A_ITEMS] == 2 else 0

        # the actor
        clicks = pairs.c[pair, L_N] / ONE
        n = a[A_N] / ONE
        x[REPEAT] = 1.0 - 1.0 / clicks if clicks > 1.0 else 0.0
        if n > 1.0:
            x[CONCENTRATION] = min(1.0, a[A_TOP_N] / a[A_N]) * (1.0 - 1.0 / n)
        x[NEWNESS] = newness / ONE
        x[REGULAR] = regularity(a[A_GAP], a[A_GAP2], a[A_GAPS], 5)
        x[UNDONE] = a[A_UNDOS] / (a[A_N] + 4.0 * ONE)
        x[SHALLOW] = 1.0 / max(1, a[A_IN_SESSION])

        # the item's window
        expected = max(w[I_N1H] - w[I_N1M], 0) / ONE / 60.0
        busy = max(1.0, s[I_N1M] * 60.0 / (s[I_N1H] + ONE)) if s[I_N1H] > w[I_N1H] else 1.0
        burst = surprise(w[I_N1M], expected * min(busy, 10.0))
        rise = surprise(w[I_N1H], max(w[I_N24H] - w[I_N1H], 0) / ONE / 24.0)
        x[BURST] = burst / (burst + 8.0)
        x[RISE] = rise / (rise + 8.0)
        x[NOVEL] = excess(w[I_NOVEL1H], w[I_N1H], s[I_NOVEL1H], s[I_N1H])
        x[FRESH] = excess(w[I_FRESH1H], w[I_N1H], s[I_FRESH1H], s[I_N1H])
        x[DIRECT] = excess(w[I_DIRECT1H], w[I_REFERRED1H], s[I_DIRECT1H], s[I_REFERRED1H])
        x[METRONOME] = regularity(w[I_GAP], w[I_GAP2], w[I_ARRIVALS], 16)

        # newcomers at their first item, at any pace; in a burst also those who looked elsewhere first
        flag = IS_NOVEL if is_young else 0
        is_sudden = w[I_N1M] >= limits.burst_n * ONE and burst >= limits.burst_z
        if is_novel and (
            is_crowd(w[I_NOVEL1M], w[I_N1M], s[I_NOVEL1H], s[I_N1H], limits)
            or is_crowd(w[I_NOVEL1H], w[I_N1H], s[I_NOVEL1H], s[I_N1H], limits)
        ):
            flag |= IS_CROWD
        if is_young and is_sudden and is_crowd(w[I_YOUNG1M], w[I_N1M], s[I_YOUNG1H], s[I_N1H], limits):
            flag |= IS_CROWD

        # where it came from
        if is_first and (acts.prefix[i] or acts.agent[i]):
            flag |= _enter_network(acts, i, links, w, s, now_ms, limits, is_young, x)

        # a rare item's: at least a quarter of the last hour's clickers came in the last minute
        is_burst = w[I_N1M] >= 3 * ONE and burst >= 2.0 and w[I_N1H] <= 4 * w[I_N1M] + 8 * ONE
        if is_sudden:
            flag |= IS_BURST | IS_ACTIVE
        elif w[I_N1H] >= 2 * limits.crowd_n * ONE and rise >= 2.0 * limits.burst_z:
            flag |= IS_ACTIVE
        if is_first and is_burst:
            if a[A_COHORT] and now_ms - a[A_COHORT_MS] < limits.cohort_ms:
                flag |= IS_COHORT
            flag |= _meet(actors, row, live, bursts, ring, ring_size, item, now_ms, limits)
        if is_burst:
            known = find(live.slots, live.keys, item)
            if known >= 0 and live.c[known, V_N] >= limits.lockstep_n:
                x[OVERLAP] = live.c[known, V_COUNTS : V_COUNTS + N_ROOTS].max() / live.c[known, V_N]
        if clicks >= limits.flood_n and x[CONCENTRATION] >= 0.5 and (a[A_GAP] < 2500 * 256 or x[REGULAR] >= 0.8):
            flag |= IS_FLOOD
        if a[A_GAPS] >= 8 and x[REGULAR] >= 0.9:
            flag |= IS_REGULAR
        # only where the answer could matter: of newcomers, and of actors odd in themselves
        if flag & IS_ACTIVE and (is_young or x[REGULAR] >= 0.75 or x[UNDONE] >= 0.25) and is_odd(x):
            flag |= IS_ASKED
        if is_first:
            place = ring_size[0] % ring.shape[0]
            ring_size[0] += 1
            ring[place, R_ACTOR] = np.int64(acts.actor[i])
            ring[place, R_ITEM] = np.int64(item)
            ring[place, R_ORDINAL] = ordinal + i
            ring[place, R_IN_BURST] = is_burst
            ring[place, R_AT] = now_ms
        flags[i] = flag
        n_flagged += (flag & TO_DECIDE) != 0
    return n_flagged


@njit(cache=True)
def observe_packed(
    acts: tuple[Any, ...],
    memory: tuple[Any, ...],
    trusted: tuple[Any, ...],
    rules: tuple[Any, ...],
    limits: tuple[Any, ...],
    ordinal: int,
    out: Float64s,
    flags: Int32s,
) -> int:
    """`observe` for a caller from Python: a named tuple costs twice a plain one on its way in."""
    actors, pairs, items, links, live, bursts, site, ring, ring_size = memory
    return observe(
        Acts(*acts),
        Rows(*actors),
        Rows(*pairs),
        Rows(*items),
        Rows(*links),
        Rows(*live),
        Rows(*bursts),
        site,
        ring,
        ring_size,
        Actors(*trusted),
        TrustRules(*rules),
        Limits(*limits),
        ordinal,
        out,
        flags,
    )


@njit(cache=True)
def _enter_network(
    acts: Acts,
    i: int,
    links: Rows,
    w: Int64s,
    s: Int64s,
    now_ms: int,
    limits: Limits,
    is_novel: bool,
    x: Float64s,
) -> int:
    """Count where a first act on an item came from; IS_NETWORK where a novel actor's prefix crowds the item."""
    item, prefix, agent = acts.item[i], acts.prefix[i], acts.agent[i]
    flag = 0
    if prefix:
        of_site = _count(links, prefix, now_ms, HOUR_MS)
        of_item = _count(links, mix(item, prefix), now_ms, HOUR_MS)
        is_new = now_ms - links.c[of_site, L_FIRST] < DAY_MS
        for c in (w, s):
            c[I_PREFIXED1H] += ONE
            c[I_NEWPREFIX1H] += ONE if is_new else 0
        part, whole = links.c[of_item, L_N], w[I_PREFIXED1H]
        x[PREFIX] = excess(part, whole, links.c[of_site, L_N], s[I_PREFIXED1H])
        x[NEW_PREFIX] = excess(w[I_NEWPREFIX1H], whole, s[I_NEWPREFIX1H], s[I_PREFIXED1H])
        is_crowded = is_crowd(part, whole, links.c[of_site, L_N], s[I_PREFIXED1H], limits)
        if is_novel and is_crowded:
            flag = IS_NETWORK
    if agent:
        of_site = _count(links, mix(agent, np.uint64(2)), now_ms, HOUR_MS)
        of_item = _count(links, mix(item, agent), now_ms, HOUR_MS)
        for c in (w, s):
            c[I_AGENTS1H] += ONE
        x[AGENT] = excess(links.c[of_item, L_N], w[I_AGENTS1H], links.c[of_site, L_N], s[I_AGENTS1H])
    return flag


@njit(cache=True)
def exposed_in(ring: Int64s, n: int, actors: Rows, cohort_after_ms: int) -> Int64s:
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
def lonely_in(ring: Int64s, n: int, actors: Rows, item: Key, since_ms: int) -> Int64s:
    """Places in the ring of acts on an item since then, by newcomers who have not acted after."""
    found = np.empty(n, np.int64)
    size = 0
    for k in range(n):
        if ring[k, R_ITEM] != np.int64(item) or ring[k, R_ORDINAL] < 0 or ring[k, R_AT] < since_ms:
            continue
        row = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
        if row >= 0 and actors.c[row, A_ITEMS] <= YOUNG_ITEMS and actors.c[row, A_LAST] <= ring[k, R_AT]:
            found[size] = k
            size += 1
    return found[:size]


@njit(cache=True)
def items_of(actors: Rows, wanted: UInt64s) -> Int64s:
    """How many different items each of these actors has acted on, int64 (n,); 0 for one unknown."""
    counts = np.zeros(wanted.size, np.int64)
    for i in range(wanted.size):
        row = find(actors.slots, actors.keys, wanted[i])
        if row >= 0:
            counts[i] = actors.c[row, A_ITEMS]
    return counts


@njit(cache=True)
def forget_acts(acting: UInt64s, acted_on: UInt64s, actors: Rows, ring: Int64s, n: int) -> None:
    """Take acts of these pairs out of the ring, and these actors out of their cohorts."""
    for i in range(acting.size):
        row = find(actors.slots, actors.keys, acting[i])
        if row >= 0:
            actors.c[row, A_COHORT] = actors.c[row, A_COHORT_MS] = 0
        for k in range(n):
            if ring[k, R_ACTOR] == np.int64(acting[i]) and ring[k, R_ITEM] == np.int64(acted_on[i]):
                ring[k, R_ORDINAL] = -1
