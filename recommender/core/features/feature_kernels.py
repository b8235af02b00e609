"""The compiled loop of the features, one pass over a batch in log order.

    event ──> actor ──┐
         └──> item ───┼──> FEATURES in [0, 1], 0 = nothing against it ──> out (n, N_FEATURES)
         └──> prefix ─┘
         └──> burst of a rare item ──> who was here before, together? ──> lockstep, cohort

Every event is compared with the events before it. Each part of the loop is a function that Numba writes into it
(`inline="always"`). These functions take numbers and single rows. If they took a table's arrays, Numba would count
references to them ten times an event, which costs a third of the loop.

State is integers. Features are divisions and square roots of them, which are exact in IEEE arithmetic. So the same
history has the same verdicts on every machine. One event costs four to eight probes of hash tables.

Numba's cache on disk notices a change of this file, but not of the files it calls. After such a change run
`core.warmup`, which compiles all of the core anew.
"""

from typing import Any

import numpy as np
from numba import njit

from recommender.core.features.feature_actors import ActNovelty, describe_actor, enter_act, enter_actor, find_machine
from recommender.core.features.feature_columns import (
    A_FIRST, A_LAST_ITEM, A_UNDOS, ActorRows, AGENT, BURST, C_ITEMS, DIRECT, DUPLICATE, FRESH, I_AGAIN1H,
    I_AGENTS1H, I_ARRIVALS, I_BELIEVED, I_DIRECT1H, I_FRESH1H, I_GAP, I_GAP2, I_GREEN1H, I_GREEN1M, I_HASTY1H,
    I_LAST, I_N1H, I_N1M, I_N24H, I_NEWPREFIX1H, I_NOVEL1H, I_NOVEL1M, I_PREFIXED1H, I_REFERRED1H, I_UNDONE1H,
    I_UNDONE_MS, I_YOUNG1H, I_YOUNG1M, IS_ACTIVE, IS_ASKED, IS_BELIEVED, IS_BURST, IS_COHORT, IS_CONDEMNED,
    IS_CROWD, IS_LEANING, IS_NETWORK, IS_NOVEL, IS_SHUNNED, IS_TAKEN_BACK, L_FIRST, L_N, M_COHORT, M_COHORT_MS,
    METRONOME, NEW_PREFIX, NOVEL, ONE, OVERLAP, PairRows, PREFIX, R_ACTOR, R_AT, R_IN_BURST, R_ITEM, R_NTH,
    R_ORDINAL, REGULAR, RISE, S_BEGUN24H, S_RETURNED24H, S_WENTON24H, S_YOUNG24H, TO_DECIDE, UNDO_MS, UNDONE, V_MET,
    V_N, YOUNG_ITEMS, YOUNG_MS, Acts, FeatureRows, Float64s, Int32s, Int64s, Limits,
)  # fmt: skip
from recommender.core.features.feature_windows import (
    count, count_clicks, excess, fade_site, fade_window, is_arrival_crowd, is_crowd, is_leaning, is_odd,
    newness_of, regularity, row_of, surprise,
)  # fmt: skip
from recommender.core.trend.trend_columns import Actors
from recommender.core.tables.hashing import Key, add, find, mix
from recommender.core.trust import TrustRules
from recommender.core.features.lockstep import meet
from recommender.core.features.near_duplicates import SKETCHED, SKETCHED_FROM, duplicate, enter_band, sketch
from recommender.core.vocabulary import DAY_MS, EXPOSURE, HOUR_MS, UNDO

HELD_ONE_IN = 4  # newcomers, on an item whose newcomers read on (a power of two)


@njit(cache=True)
def observe(  # noqa: PLR0912, PLR0915 - all tables of an event meet here
    acts: Acts,
    actors: ActorRows,
    pairs: PairRows,
    items: FeatureRows,
    links: FeatureRows,
    live: FeatureRows,
    bursts: FeatureRows,
    members: FeatureRows,
    sketches: FeatureRows,
    bands: FeatureRows,
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
    """Enter a batch, and write its features into `out` and its findings into `flags`.

    Returns how many events have a flag of TO_DECIDE. For all others the verdict is clear.
    """
    n_flagged = 0
    for i in range(acts.item.size):
        kind = acts.kind[i]
        if kind == EXPOSURE or not acts.is_seen[i]:
            continue
        now_ms, item = acts.received_ms[i], acts.item[i]
        n_actors = actors.size[0]
        row = find(actors.slots, actors.keys, acts.actor[i])
        if row < 0:
            row = add(actors.slots, actors.keys, actors.size, acts.actor[i])
            actors.c[row] = 0
            actors.counts[row] = 0
        a, k, x = actors.c[row], actors.counts[row], out[i]
        gap = enter_actor(actors.c, row, k, now_ms, row == n_actors)
        if kind == UNDO:
            a[A_UNDOS] += ONE
            _take_back(acts, i, actors, members, pairs, items, site, ring, ring_size, limits)
            continue

        key = mix(acts.actor[i], item)
        pair = find(pairs.slots, pairs.keys, key)
        is_known = pair >= 0
        if not is_known:
            pair = add(pairs.slots, pairs.keys, pairs.size, key)
            pairs.n[pair] = pairs.mark[pair] = 0
            pairs.last_ms[pair] = now_ms
        clicks = count_clicks(pairs.n, pairs.last_ms, pair, now_ms)
        left = a[A_LAST_ITEM]
        act = enter_act(a, k, item, acts.session[i], now_ms, gap, not is_known)
        if act.is_green and 2 <= k[C_ITEMS] <= SKETCHED:
            sketch(sketches, acts.actor[i], np.uint64(left), item, k[C_ITEMS], a[A_FIRST])
        newness = newness_of(trusted, rules, acts.actor[i], now_ms)
        at = row_of(items, item)
        w, s = items.c[at], site[0]
        last_ms = w[I_LAST]
        fade_window(items.c, at, now_ms)
        fade_site(site, now_ms)
        if act.is_first:
            _enter_window(w, s, act, newness, now_ms - last_ms if last_ms else 0, acts.referrer[i])
            if act.is_green and k[C_ITEMS] >= SKETCHED_FROM:
                enter_band(sketches, bands, acts.actor[i], item, w, s, now_ms)
            if gap <= limits.return_ms and 2 <= k[C_ITEMS] <= YOUNG_ITEMS + 1:
                s[S_WENTON24H] += ONE
                s[S_RETURNED24H] += ONE if k[C_ITEMS] == 2 else 0
            if act.is_hasty:
                before = find(items.slots, items.keys, np.uint64(left))
                if before >= 0:
                    fade_window(items.c, before, now_ms)
                    items.c[before, I_HASTY1H] += ONE
                    s[I_HASTY1H] += ONE
        elif 1.0 < clicks <= 2.0 and k[C_ITEMS] <= YOUNG_ITEMS and now_ms - a[A_FIRST] <= YOUNG_MS:
            w[I_AGAIN1H] += ONE
            s[I_AGAIN1H] += ONE
        describe_actor(x, a, k, clicks, newness)
        burst, rise = _describe_window(x, w, s)

        is_sudden = w[I_N1M] >= limits.burst_n * ONE and burst >= limits.burst_z
        flag = _find_crowd(act, w, s, is_sudden, limits)
        if act.is_novel and w[I_BELIEVED] >= now_ms and mix(acts.actor[i], item) & np.uint64(HELD_ONE_IN - 1):
            flag |= IS_BELIEVED
        if pairs.mark[pair] == IS_CONDEMNED:
            flag |= IS_SHUNNED
        if act.is_first and (acts.prefix[i] or acts.agent[i]):
            flag |= _enter_network(acts, i, links, w, s, now_ms, limits, act.is_young, x)

        # burst of a rare item: at least a quarter of the last hour's clickers came in the last minute
        is_burst = w[I_N1M] >= 3 * ONE and burst >= 2.0 and w[I_N1H] <= 4 * w[I_N1M] + 8 * ONE
        if is_sudden:
            flag |= IS_BURST | IS_ACTIVE
        elif w[I_N1H] >= 2 * limits.crowd_n * ONE and rise >= 2.0 * limits.burst_z:
            flag |= IS_ACTIVE
        if act.is_first and is_burst:
            member = row_of(members, acts.actor[i])
            if members.c[member, M_COHORT] and now_ms - members.c[member, M_COHORT_MS] < limits.cohort_ms:
                flag |= IS_COHORT
            flag |= meet(actors, members, member, live, bursts, s, ring, ring_size, item, now_ms, limits)
        if is_burst:
            known = find(live.slots, live.keys, item)
            if known >= 0 and live.c[known, V_N]:
                x[OVERLAP] = live.c[known, V_MET] / live.c[known, V_N]
        flag |= find_machine(x, k, clicks, limits)
        # ask only if the answer could matter, for newcomers and for actors that are odd in themselves
        if flag & IS_ACTIVE and (act.is_young or x[REGULAR] >= 0.75 or x[UNDONE] >= 0.25) and is_odd(x):
            flag |= IS_ASKED | (IS_LEANING if is_leaning(x) else 0)
        if act.is_first:
            nth = k[C_ITEMS] if act.is_green else 0
            _remember(ring, ring_size, acts.actor[i], item, ordinal + i, is_burst, now_ms, nth)
        flags[i] = flag
        n_flagged += (flag & TO_DECIDE) != 0
    return n_flagged


@njit(inline="always")
def _enter_window(w: Int64s, s: Int64s, act: ActNovelty, newness: int, silent_ms: int, referrer: Key) -> None:
    """Count a first act in the windows of its item and of the site.

    silent_ms: time since the item's last act.
    """
    if silent_ms > 0:
        arrival = min(silent_ms, HOUR_MS)
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
        if act.is_novel:
            c[I_NOVEL1M] += ONE
            c[I_NOVEL1H] += ONE
        if act.is_young:
            c[I_YOUNG1M] += ONE
            c[I_YOUNG1H] += ONE
        if act.is_green and not act.is_novel:
            c[I_GREEN1M] += ONE
            c[I_GREEN1H] += ONE
        if referrer:
            c[I_REFERRED1H] += ONE
            c[I_DIRECT1H] += ONE if referrer == 1 else 0
    if act.is_novel:
        s[S_BEGUN24H] += ONE
    if act.is_young:
        s[S_YOUNG24H] += ONE


@njit(inline="always")
def _describe_window(x: Float64s, w: Int64s, s: Int64s) -> tuple[float, float]:
    """Write the features of an item's window into an event's row.

    They compare the window with the site's.
    Returns how far its last minute rises above its last hour, and this hour above its last day.
    """
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
    x[DUPLICATE] = duplicate(w, s)
    return burst, rise


@njit(inline="always")
def _find_crowd(act: ActNovelty, w: Int64s, s: Int64s, is_sudden: bool, limits: Limits) -> int:
    """Flag a newcomer that is one of a crowd.

    A newcomer at its first item is flagged at any pace of the crowd. In a burst it is flagged even if it looked at
    other items first.
    """
    flag = IS_NOVEL if act.is_young else 0
    if act.is_novel and (
        is_crowd(w[I_NOVEL1M], w[I_N1M], s[I_NOVEL1H], s[I_N1H], limits)
        or is_crowd(w[I_NOVEL1H], w[I_N1H], s[I_NOVEL1H], s[I_N1H], limits)
    ):
        flag |= IS_CROWD
    if act.is_young and is_sudden and is_crowd(w[I_YOUNG1M], w[I_N1M], s[I_YOUNG1H], s[I_N1H], limits):
        flag |= IS_CROWD
    if act.is_green and not act.is_novel and is_arrival_crowd(w, s, limits):
        flag |= IS_CROWD | IS_ACTIVE | IS_NOVEL
    return flag


@njit(inline="always")
def _remember(
    ring: Int64s, ring_size: Int64s, actor: Key, item: Key, ordinal: int, is_burst: bool, now_ms: int, nth: int
) -> None:
    """Write a first act into the ring, over the oldest one."""
    place = ring_size[0] % ring.shape[0]
    ring_size[0] += 1
    ring[place, R_ACTOR] = np.int64(actor)
    ring[place, R_ITEM] = np.int64(item)
    ring[place, R_ORDINAL] = ordinal
    ring[place, R_IN_BURST] = is_burst
    ring[place, R_AT] = now_ms
    ring[place, R_NTH] = nth


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
    """Call `observe` with plain tuples.

    A named tuple from Python costs twice as much as a plain one.
    """
    actors, pairs, items, links, live, bursts, members, sketches, bands, site, ring, ring_size = memory
    return observe(
        Acts(*acts),
        ActorRows(*actors),
        PairRows(*pairs),
        FeatureRows(*items),
        FeatureRows(*links),
        FeatureRows(*live),
        FeatureRows(*bursts),
        FeatureRows(*members),
        FeatureRows(*sketches),
        FeatureRows(*bands),
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
def _take_back(
    acts: Acts,
    i: int,
    actors: ActorRows,
    members: FeatureRows,
    pairs: PairRows,
    items: FeatureRows,
    site: Int64s,
    ring: Int64s,
    ring_size: Int64s,
    limits: Limits,
) -> None:
    """Count an undo soon after the act.

    If most of an item's clickers undo their acts, they are a cohort, and known as one from then on.
    """
    now_ms, item = acts.received_ms[i], acts.item[i]
    pair = find(pairs.slots, pairs.keys, mix(acts.actor[i], item))
    at = find(items.slots, items.keys, item)
    if pair < 0 or at < 0 or pairs.mark[pair] < 0 or now_ms - pairs.last_ms[pair] > UNDO_MS:
        return
    pairs.mark[pair] = IS_TAKEN_BACK  # so that it is counted once
    fade_window(items.c, at, now_ms)
    fade_site(site, now_ms)
    w, s = items.c[at], site[0]
    for c in (w, s):
        c[I_UNDONE1H] += ONE
    if w[I_N1H] < limits.pure_n * ONE or not is_crowd(w[I_UNDONE1H], w[I_N1H], s[I_UNDONE1H], s[I_N1H], limits):
        return
    member = row_of(members, acts.actor[i])
    members.c[member, M_COHORT], members.c[member, M_COHORT_MS] = np.int64(item), now_ms
    if now_ms - w[I_UNDONE_MS] < HOUR_MS:
        return
    w[I_UNDONE_MS] = now_ms
    for k in range(min(ring_size[0], ring.shape[0])):
        if ring[k, R_ITEM] == np.int64(item):
            other = find(actors.slots, actors.keys, np.uint64(ring[k, R_ACTOR]))
            if other >= 0 and actors.c[other, A_UNDOS]:
                member = row_of(members, actors.keys[other])
                members.c[member, M_COHORT], members.c[member, M_COHORT_MS] = np.int64(item), now_ms


@njit(cache=True)
def _enter_network(
    acts: Acts,
    i: int,
    links: FeatureRows,
    w: Int64s,
    s: Int64s,
    now_ms: int,
    limits: Limits,
    is_novel: bool,
    x: Float64s,
) -> int:
    """Count the network and agent of a first act on an item.

    Returns IS_NETWORK if the prefix of a novel actor crowds the item.
    """
    item, prefix, agent = acts.item[i], acts.prefix[i], acts.agent[i]
    flag = 0
    if prefix:
        of_site = count(links, prefix, now_ms, HOUR_MS)
        of_item = count(links, mix(item, prefix), now_ms, HOUR_MS)
        if links.c[of_site, L_FIRST] == 0:
            links.c[of_site, L_FIRST] = now_ms
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
        of_site = count(links, mix(agent, np.uint64(2)), now_ms, HOUR_MS)
        of_item = count(links, mix(item, agent), now_ms, HOUR_MS)
        for c in (w, s):
            c[I_AGENTS1H] += ONE
        x[AGENT] = excess(links.c[of_item, L_N], w[I_AGENTS1H], links.c[of_site, L_N], s[I_AGENTS1H])
    return flag
