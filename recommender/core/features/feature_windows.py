"""Arithmetic of the features: windows, shares and surprises, compiled.

    counts of an item's window ──┐
    counts of the whole site ────┴──> a share compared with the rest of the site's ──> in excess? how far, how surely?

The loops of feature_kernels and lockstep call it. Numba's cache on disk notices a change of a function's own file,
but not of the files it calls. After a change here or in feature_columns run `core.warmup`, which compiles all of the
core anew.
"""

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (
    AGENT, BY_DAY, BY_HOUR, CAMOUFLAGED, DIRECT, FRESH, HASTY, I_AGAIN1H, I_GREEN1H, I_GREEN1M, I_HASTY1H, I_LAST,
    I_N1H, I_N1M, I_NOVEL1H, I_NOVEL1M, I_UNDONE1H, I_YOUNG1H, I_YOUNG1M, INSISTENT, L_LAST, L_N, METRONOME,
    MOST_CLICKS, NEW_PREFIX, NOVEL, OF_SITE_BY_DAY, ONE, OVERLAP, PREFIX, TAKEN_BACK, Float64s, Int32s, Int64s,
    Limits, FeatureRows,
)  # fmt: skip
from recommender.core.tables.decay import TICKS, decayed
from recommender.core.trend.trend_columns import Actors
from recommender.core.tables.hashing import Key, add, find
from recommender.core.trust import TrustRules
from recommender.core.vocabulary import DAY_MS, HOUR_MS, MINUTE_MS


@njit(cache=True)
def fade(c: Int64s, row: int, column: int, elapsed_ms: int, half_ms: int) -> None:
    if c[row, column]:
        c[row, column] = decayed(c[row, column], elapsed_ms * TICKS // half_ms)


@njit(cache=True)
def fade_window(c: Int64s, row: int, now_ms: int) -> None:
    """Decay the counts of an item, or those that the site has too, to now."""
    elapsed = now_ms - c[row, I_LAST]
    if elapsed <= 0:
        return
    c[row, I_LAST] = now_ms
    for column in (I_N1M, I_NOVEL1M, I_YOUNG1M, I_GREEN1M):
        fade(c, row, column, elapsed, MINUTE_MS)
    for column in BY_HOUR:
        fade(c, row, column, elapsed, HOUR_MS)
    for column in BY_DAY:
        fade(c, row, column, elapsed, DAY_MS)


@njit(cache=True)
def fade_site(site: Int64s, now_ms: int) -> None:
    """Decay the counts of the site to now."""
    elapsed = now_ms - site[0, I_LAST]
    if elapsed > 0:
        for column in OF_SITE_BY_DAY:
            fade(site, 0, column, elapsed, DAY_MS)
        fade_window(site, 0, now_ms)


@njit(cache=True)
def excess(part: int, whole: int, site_part: int, site_whole: int) -> float:
    """Return by how much a share exceeds the share of the rest of the site, in [0, 1].

    Small windows are shrunk towards 0. Without a site to compare with, the site's share is taken as 1, and nothing is
    in excess.
    """
    rest = site_whole - whole
    share = (max(site_part - part, 0) + 8.0 * ONE) / (max(rest, 0) + 8.0 * ONE)
    share = min(share, 1.0)
    return max(0.0, (part - share * whole) / (whole + 8.0 * ONE))


@njit(cache=True)
def is_crowd(part: int, whole: int, site_part: int, site_whole: int, limits: Limits) -> bool:
    """Return True if one sort of clickers is far more frequent than on the site."""
    return exceeds(part, whole, site_part, site_whole, limits.crowd_n, limits.crowd_share, limits.crowd_z)


@njit(cache=True)
def is_pure(part: int, whole: int, site_part: int, site_whole: int, limits: Limits) -> bool:
    """Return True like `is_crowd`, but for larger windows and a larger share.

    No honest crowd was ever seen that far beyond the site's share.
    """
    return exceeds(part, whole, site_part, site_whole, limits.pure_n, limits.pure_share, limits.crowd_z)


@njit(cache=True)
def exceeds(part: int, whole: int, site_part: int, site_whole: int, at_least: int, way: float, z: float) -> bool:
    """Return True if a share is far on the way from the rest of the site's share to 1.

    at_least: clickers of the window, below which it is False.
    way: the least part of that way, in [0, 1].
    z: the least distance from the site's share, in standard deviations.
    """
    if whole < at_least * ONE:
        return False
    share = (max(site_part - part, 0) + 8.0 * ONE) / (max(site_whole - whole, 0) + 8.0 * ONE)
    share = min(share, 1.0)
    n, k = whole / ONE, part / ONE
    if k < n * (share + (1.0 - share) * way):
        return False
    return k - n * share >= z * np.sqrt(n * share * (1.0 - share) + 1.0)


@njit(cache=True)
def is_arrival_crowd(w: Int64s, s: Int64s, limits: Limits) -> bool:
    """Return True if far more of an item's arrivals are newcomers than elsewhere.

    Arrivals are clickers who came to the item from another one.
    """
    site_whole = s[I_N1H] - s[I_NOVEL1H]
    return is_crowd(w[I_GREEN1H], w[I_N1H] - w[I_NOVEL1H], s[I_GREEN1H], site_whole, limits) or is_crowd(
        w[I_GREEN1M], w[I_N1M] - w[I_NOVEL1M], s[I_GREEN1H], site_whole, limits
    )


@njit(cache=True)
def evidence_of(w: Int64s, s: Int64s, limits: Limits) -> int:
    """Return the evidence against a crowd of newcomers.

    Each sign compares the crowd with the site's newcomers.

    CAMOUFLAGED: almost all who came from another item were new.
    INSISTENT: almost all came back for more of the same.
    HASTY: almost all left it within seconds for another item.
    TAKEN_BACK: almost all undid their acts.
    """
    found = 0
    site_whole = s[I_N1H] - s[I_NOVEL1H]
    if is_pure(w[I_GREEN1H], w[I_N1H] - w[I_NOVEL1H], s[I_GREEN1H], site_whole, limits) or is_pure(
        w[I_GREEN1M], w[I_N1M] - w[I_NOVEL1M], s[I_GREEN1H], site_whole, limits
    ):
        found |= CAMOUFLAGED
    if is_crowd(w[I_AGAIN1H], w[I_YOUNG1H], s[I_AGAIN1H], s[I_YOUNG1H], limits):
        found |= INSISTENT
    if is_crowd(w[I_HASTY1H], w[I_YOUNG1H], s[I_HASTY1H], s[I_YOUNG1H], limits):
        found |= HASTY
    if is_crowd(w[I_UNDONE1H], w[I_N1H], s[I_UNDONE1H], s[I_N1H], limits):
        found |= TAKEN_BACK
    if found & ~CAMOUFLAGED and w[I_YOUNG1H] < limits.pure_n * ONE:
        found &= CAMOUFLAGED
    return found


@njit(cache=True)
def regularity(gap: int, gap2: int, n: int, at_least: int) -> float:
    """Return 1 - (squared coefficient of variation of the gaps), but at least 0.

    Random arrivals give 0, and so do too few gaps.
    """
    if n < at_least or gap <= 0:
        return 0.0
    mean = gap / 256.0
    return min(1.0, max(0.0, 1.0 - max(0.0, gap2 - mean * mean) / (mean * mean)))


@njit(cache=True)
def surprise(n: int, expected: float) -> float:
    """Return by how many standard deviations a count exceeds the expected one."""
    return max(0.0, (n / ONE - expected) / np.sqrt(expected + 1.0))


@njit(cache=True)
def is_odd(x: Float64s) -> bool:
    """Return True if a window differs from the rest of the site in more than its rise.

    Only then is a forest asked.
    """
    return (
        max(x[NOVEL], x[FRESH], x[PREFIX]) >= 0.15
        or max(x[DIRECT], x[OVERLAP], x[NEW_PREFIX], x[AGENT]) >= 0.25
        or x[METRONOME] >= 0.5
    )


@njit(cache=True)
def is_leaning(x: Float64s) -> bool:
    """Return True if a forest's opinion is enough to hold newcomers of a window.

    A story that newcomers like differs from the rest of the site by less.
    """
    return max(x[NOVEL], x[FRESH], x[PREFIX], x[DIRECT], x[NEW_PREFIX], x[AGENT]) >= 0.25 or x[METRONOME] >= 0.5


@njit(cache=True)
def newness_of(trusted: Actors, rules: TrustRules, actor: Key, now_ms: int) -> int:
    """Return 1 - (the part of full trust that an actor has earned), in ONE.

    `trend_kernels._trust` finds the same, but also changes the actor's row.
    """
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
def row_of(rows: FeatureRows, key: Key) -> int:
    """Return the row of a key, made empty if it has none."""
    row = find(rows.slots, rows.keys, key)
    if row < 0:
        row = add(rows.slots, rows.keys, rows.size, key)
        rows.c[row] = 0
    return row


@njit(cache=True)
def count(rows: FeatureRows, key: Key, now_ms: int, half_ms: int) -> int:
    """Count a link once more, and return its row."""
    row = row_of(rows, key)
    elapsed = now_ms - rows.c[row, L_LAST]
    if elapsed > 0:
        fade(rows.c, row, L_N, elapsed, half_ms)
        rows.c[row, L_LAST] = now_ms
    rows.c[row, L_N] += ONE
    return row


@njit(cache=True)
def count_clicks(n: Int32s, last_ms: Int64s, pair: int, now_ms: int) -> float:
    """Count an act of an actor on an item, and return the clicks now.

    n, last_ms: of PairRows.
    """
    clicks, elapsed = int(n[pair]), now_ms - last_ms[pair]
    if elapsed > 0:
        clicks = decayed(clicks, elapsed * TICKS // DAY_MS)
        last_ms[pair] = now_ms
    n[pair] = min(clicks + ONE, MOST_CLICKS)
    return n[pair] / ONE
