"""Count an act in its actor's row, and say what is odd about the actor.

    act ──enter_actor, enter_act──> the row of the actor ──describe_actor──> FEATURES    find_machine ──> flags

Numba writes these functions into `feature_kernels.observe` (`inline="always"`). Its cache on disk does not notice a
change of this file. After such a change run `core.warmup`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (
    A_FIRST, A_GAP2, A_LAST, A_LAST_ITEM, A_N, A_SESSION, A_TOP, A_TOP_N, A_UNDOS, C_GAP, C_GAPS, C_IN_SESSION,
    C_ITEMS, CONCENTRATION, GAPS_COUNTED, HASTY_MS, IMPUTED_GAP_MS, IS_FLOOD, IS_REGULAR, NEWNESS, ONE, REGULAR,
    REPEAT, SESSION_MS, SHALLOW, UNDONE, YOUNG_ITEMS, YOUNG_MS, Float64s, Int32s, Int64s, Limits,
)  # fmt: skip
from recommender.core.features.feature_windows import fade, regularity
from recommender.core.tables.hashing import Key
from recommender.core.vocabulary import DAY_MS


class ActNovelty(NamedTuple):
    """Properties of an act, seen from its actor.

    is_first: its first act on this item.
    is_novel: its very first act.
    is_green: a first act on an item, within an hour of its very first act.
    is_young: a green act among its first few items.
    is_hasty: it left its last item within seconds for this one.
    """

    is_first: bool
    is_novel: bool
    is_green: bool
    is_young: bool
    is_hasty: bool


@njit(inline="always")
def enter_actor(c: Int64s, row: int, k: Int32s, now_ms: int, is_new: bool) -> int:
    """Count an act of an actor, and return for how long it was silent before."""
    a = c[row]
    if is_new:
        a[A_FIRST] = a[A_LAST] = now_ms
    gap = max(now_ms - a[A_LAST], 0)
    if gap:
        fade(c, row, A_N, gap, DAY_MS)
        fade(c, row, A_TOP_N, gap, DAY_MS)
        fade(c, row, A_UNDOS, gap, DAY_MS)
        a[A_LAST] = now_ms
        if gap < SESSION_MS and gap != IMPUTED_GAP_MS:
            if k[C_GAPS] == 0:
                k[C_GAP], a[A_GAP2] = gap * 256, gap * gap
            k[C_GAPS] = min(k[C_GAPS] + 1, GAPS_COUNTED)
            k[C_GAP] += (gap * 256 - k[C_GAP]) >> 3
            a[A_GAP2] += (gap * gap - a[A_GAP2]) >> 3
    a[A_N] += ONE
    return gap


@njit(inline="always")
def enter_act(a: Int64s, k: Int32s, item: Key, of_session: Key, now_ms: int, gap: int, is_first: bool) -> ActNovelty:
    """Count an act on an item in its actor's row, `a` and `k`."""
    session = np.int64(of_session)
    if gap >= SESSION_MS or (session != 0 and session != a[A_SESSION]):
        k[C_IN_SESSION] = 0
    a[A_SESSION] = session
    is_novel = is_first and k[C_ITEMS] == 0
    is_green = is_first and now_ms - a[A_FIRST] <= YOUNG_MS
    is_young = is_first and k[C_ITEMS] < YOUNG_ITEMS and now_ms - a[A_FIRST] <= YOUNG_MS
    is_hasty = is_first and a[A_LAST_ITEM] != 0 and k[C_ITEMS] <= YOUNG_ITEMS and 0 < gap < HASTY_MS
    if is_first:
        k[C_ITEMS] += 1
        k[C_IN_SESSION] += 1
        a[A_LAST_ITEM] = np.int64(item)
    if a[A_TOP] == np.int64(item):
        a[A_TOP_N] += ONE
    elif a[A_TOP_N] < ONE:
        a[A_TOP], a[A_TOP_N] = np.int64(item), ONE
    else:
        a[A_TOP_N] -= ONE // 2
    return ActNovelty(is_first, is_novel, is_green, is_young, is_hasty)


@njit(inline="always")
def describe_actor(x: Float64s, a: Int64s, k: Int32s, clicks: float, newness: int) -> None:
    """Write an actor's features into its event's row.

    clicks: the actor's clicks on this item.
    """
    n = a[A_N] / ONE
    x[REPEAT] = 1.0 - 1.0 / clicks if clicks > 1.0 else 0.0
    if n > 1.0:
        x[CONCENTRATION] = min(1.0, a[A_TOP_N] / a[A_N]) * (1.0 - 1.0 / n)
    x[NEWNESS] = newness / ONE
    x[REGULAR] = regularity(k[C_GAP], a[A_GAP2], k[C_GAPS], 5)
    x[UNDONE] = a[A_UNDOS] / (a[A_N] + 4.0 * ONE)
    x[SHALLOW] = 1.0 / max(1, k[C_IN_SESSION])


@njit(inline="always")
def find_machine(x: Float64s, k: Int32s, clicks: float, limits: Limits) -> int:
    """Flag an actor that floods the item, or clicks like a clock."""
    flag = 0
    if clicks >= limits.flood_n and x[CONCENTRATION] >= 0.5 and (k[C_GAP] < 2500 * 256 or x[REGULAR] >= 0.8):
        flag |= IS_FLOOD
    if k[C_GAPS] >= 8 and x[REGULAR] >= 0.9:
        flag |= IS_REGULAR
    return flag
