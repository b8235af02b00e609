"""Compiled loops of affinity: from units to histories, from histories to links.

    learn:  a unit an actor gains, moves or loses ──> its history before and after ──> the links of both, subtracted
            and added (`link_kernels.credit`)

The links of a history are a function of the history alone (`_add_links`), so that everything that was added can be
removed again. See recommender.core.affinity.affinity for the rules.
"""

from typing import Any

import numpy as np
from numba import njit

from recommender.core.affinity.affinity_columns import (
    AT_MS,
    HISTORY,
    ITEM,
    SHORT,
    WEIGHT,
    Histories,
    Links,
    Longer,
    Rhythm,
    Sources,
)
from recommender.core.affinity.link_kernels import credit
from recommender.core.tables.hashing import Int8s, Int32s, Int64s, Key, UInt64s, add, find
from recommender.core.trend.trend_columns import GAINED, UNCHANGED
from recommender.core.trust import WEIGHT_BITS


@njit(cache=True)
def load(histories: Histories, longer: Longer, row: int, h: Int64s) -> int:
    """Copy the units of a history into `h`, and return how many there are.

    h: int64 (HISTORY + 1, 3), see ITEM.
    """
    n = int(histories.length[row])
    for place in range(min(n, SHORT)):
        h[place, ITEM] = np.int64(histories.item[row, place])
        h[place, AT_MS] = histories.at_ms[row, place]
        h[place, WEIGHT] = histories.weight[row, place]
    if n > SHORT:
        rest = find(longer.slots, longer.keys, histories.keys[row])
        for place in range(SHORT, n):
            h[place, ITEM] = np.int64(longer.item[rest, place - SHORT])
            h[place, AT_MS] = longer.at_ms[rest, place - SHORT]
            h[place, WEIGHT] = longer.weight[rest, place - SHORT]
    return n


@njit(cache=True)
def _save(histories: Histories, longer: Longer, row: int, h: Int64s, n: int) -> None:
    """Write the first n units of `h` into a history, and clear the places after them."""
    histories.length[row] = n
    for place in range(SHORT):
        is_used = place < n
        histories.item[row, place] = np.uint64(h[place, ITEM]) if is_used else np.uint64(0)
        histories.at_ms[row, place] = h[place, AT_MS] if is_used else 0
        histories.weight[row, place] = h[place, WEIGHT] if is_used else 0
    rest = find(longer.slots, longer.keys, histories.keys[row])
    if rest < 0:
        if n <= SHORT:
            return
        rest = add(longer.slots, longer.keys, longer.size, histories.keys[row])
    for place in range(SHORT, HISTORY):
        is_used = place < n
        longer.item[rest, place - SHORT] = np.uint64(h[place, ITEM]) if is_used else np.uint64(0)
        longer.at_ms[rest, place - SHORT] = h[place, AT_MS] if is_used else 0
        longer.weight[rest, place - SHORT] = h[place, WEIGHT] if is_used else 0


@njit(cache=True)
def _add_links(h: Int64s, n: int, first: int, sign: int, links: Links, sources: Sources, rhythm: Rhythm) -> None:
    """Add the links of a history whose target is unit `first` or a later one.

    h: the n units. With sign -1 the links are removed. Each unit is linked with those before it, the nearer the more.
    A link counts at its target's own time, with the lesser of the two weights.
    """
    for place in range(max(first, 1), n):
        for steps in range(1, min(place, rhythm.reach.size) + 1):
            before = place - steps
            if h[place, AT_MS] - h[before, AT_MS] > rhythm.window_ms:
                break
            lesser = min(h[place, WEIGHT], h[before, WEIGHT])
            weighs = lesser * np.int64(rhythm.reach[steps - 1]) >> WEIGHT_BITS
            if weighs > 0:
                credit(
                    links,
                    sources,
                    rhythm,
                    np.uint64(h[before, ITEM]),
                    np.uint64(h[place, ITEM]),
                    sign * weighs,
                    steps == 1,
                    h[place, AT_MS],
                )


@njit(cache=True)
def _place_of(h: Int64s, n: int, item: Key) -> int:
    for place in range(n):
        if h[place, ITEM] == np.int64(item):
            return place
    return -1


@njit(cache=True)
def _place_for(h: Int64s, n: int, item: Key, at_ms: int) -> int:
    """Return the place that a unit gets by its own time, ties by item."""
    place = n
    while place > 0 and (
        h[place - 1, AT_MS] > at_ms or (h[place - 1, AT_MS] == at_ms and np.uint64(h[place - 1, ITEM]) > item)
    ):
        place -= 1
    return place


@njit(cache=True)
def learn(
    actor: UInt64s,
    item: UInt64s,
    change: Int8s,
    weight: Int32s,
    at_ms: Int64s,
    forgotten_ms: int,
    tables: tuple[Any, ...],
) -> None:
    """Apply the changes of units (`trend_columns.Units`), in log order.

    A weight below 0 means that the unit is lost. The oldest units are forgotten where a history has too many, and
    where its actor has a unit of an earlier horizon on the same item. These and their links stay as they are. A unit
    at or before the newest forgotten one is ignored.
    """
    histories, links, sources, rhythm, longer = (
        Histories(*tables[0]),
        Links(*tables[1]),
        Sources(*tables[2]),
        Rhythm(*tables[3]),
        Longer(*tables[4]),
    )
    h = np.zeros((HISTORY + 1, 3), np.int64)
    for i in range(item.size):
        if change[i] == UNCHANGED:
            continue
        row = find(histories.slots, histories.keys, actor[i])
        if row < 0:
            if weight[i] < 0:
                continue
            row = add(histories.slots, histories.keys, histories.size, actor[i])
            histories.length[row] = 0
            histories.since_ms[row] = forgotten_ms
        n = load(histories, longer, row, h)
        place = _place_of(h, n, item[i])
        if place >= 0:
            if change[i] == GAINED:  # a unit of an earlier horizon: it keeps its links, and so do those before it
                n = _forget(histories, row, h, n, place + 1)
            else:
                _add_links(h, n, place, -1, links, sources, rhythm)
                for later in range(place + 1, n):
                    h[later - 1] = h[later]
                n -= 1
                _add_links(h, n, place, 1, links, sources, rhythm)
        if weight[i] >= 0 and at_ms[i] > histories.since_ms[row]:
            place = _place_for(h, n, item[i], at_ms[i])
            _add_links(h, n, place, -1, links, sources, rhythm)
            for later in range(n, place, -1):  # there is room for one unit more than a history keeps
                h[later] = h[later - 1]
            h[place, ITEM], h[place, AT_MS], h[place, WEIGHT] = np.int64(item[i]), at_ms[i], weight[i]
            n += 1
            _add_links(h, n, place, 1, links, sources, rhythm)
            if n > HISTORY:
                n = _forget(histories, row, h, n, 1)
        _save(histories, longer, row, h, n)


@njit(cache=True)
def _forget(histories: Histories, row: int, h: Int64s, n: int, n_forgotten: int) -> int:
    """Forget the first units of a history, but keep their links.

    h: the n units. Returns how many units are left.
    """
    histories.since_ms[row] = h[n_forgotten - 1, AT_MS]
    for place in range(n_forgotten, n):
        h[place - n_forgotten] = h[place]
    return n - n_forgotten


@njit(cache=True)
def take_out_all(actor: Key, tables: tuple[Any, ...]) -> None:
    """Remove all links of an actor's history, and empty the history."""
    histories, links, sources, rhythm, longer = (
        Histories(*tables[0]),
        Links(*tables[1]),
        Sources(*tables[2]),
        Rhythm(*tables[3]),
        Longer(*tables[4]),
    )
    row = find(histories.slots, histories.keys, actor)
    if row >= 0:
        h = np.zeros((HISTORY + 1, 3), np.int64)
        _add_links(h, load(histories, longer, row, h), 0, -1, links, sources, rhythm)
        _save(histories, longer, row, h, 0)


@njit(cache=True)
def last_times(histories: Histories, longer: Longer) -> Int64s:
    """Return the time of each history's last unit, int64 (histories,).

    It is `since_ms` if that is later.
    """
    found = np.empty(histories.size[0], np.int64)
    for row in range(histories.size[0]):
        n = histories.length[row]
        found[row] = histories.since_ms[row]
        if n > SHORT:
            rest = find(longer.slots, longer.keys, histories.keys[row])
            found[row] = max(found[row], longer.at_ms[rest, n - 1 - SHORT])
        elif n:
            found[row] = max(found[row], histories.at_ms[row, n - 1])
    return found
