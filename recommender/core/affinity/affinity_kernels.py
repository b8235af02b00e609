"""Compiled loops of affinity: from units to links, from links to neighbours.

    learn:  a unit an actor gains, moves or loses ──> its history before and after ──> the links of both, subtracted
            and added ──> counts of links, and of their sources ──> neighbours, the strongest links of a source

The links of a history are a function of the history alone (`_add_links`), so that everything that was added can be
removed again. See recommender.core.affinity.affinity for the rules, `core.tables.decay` for the counting.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from recommender.core.tables.decay import EPOCH_OCTAVES, N_EPOCHS, POW, TICK_BITS, TICKS, combined
from recommender.core.tables.hashing import (
    Int8s,
    Int16s,
    Int32s,
    Int64s,
    Key,
    UInt32s,
    UInt64s,
    add,
    find,
    mix,
)
from recommender.core.trend.trend_columns import GAINED, UNCHANGED
from recommender.core.trust import WEIGHT_BITS

HISTORY = 8  # units kept per actor
SHORT = 2  # units of a history's own row. Most actors never have more
N_NEIGHBOURS = 32  # links listed per source
BLOCK_BITS = 3
BLOCK = 1 << BLOCK_BITS  # places of a list that a source gets at a time
# columns of Sources.d: the source's first link, its number of links, its number of listed links (at most
# N_NEIGHBOURS), the number of its blocks, and these blocks
D_FIRST, D_N_LINKS, D_LENGTH, D_N_BLOCKS, D_BLOCK = range(5)
N_DERIVED = D_BLOCK + N_NEIGHBOURS // BLOCK
LINK, BEHIND = range(2)  # columns of Sources.linked: the link's row, and the number of actors behind it
ITEM, AT_MS, WEIGHT = range(3)  # columns of a history's units while it is worked on


class Histories(NamedTuple):
    """The last units of each actor, oldest first.

    They are in order of their own times, ties by item.

    item, at_ms, weight: the item of each unit, its own time and its weight (0 on the canary panel). The first SHORT
    units are here, the others in the actor's row of `Longer`.
    length: number of units.
    since_ms: units at or before this time are no longer accepted.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    at_ms: Int64s
    weight: Int16s
    length: Int8s
    since_ms: Int64s


class Longer(NamedTuple):
    """Units of a history from the SHORT-th on, for actors that have had so many."""

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    at_ms: Int64s
    weight: Int16s


class Links(NamedTuple):
    """Links by (source, target). The last two columns are derived.

    counts: the decayed count, shape (rows, 1, N_EPOCHS).
    actors: the number of actors behind the link, by epoch.
    following: the next link of the same source, or -1.
    place: its place in the source's list, or -1.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    source: UInt64s
    target: UInt64s
    counts: Int64s
    actors: Int32s
    following: Int32s
    place: Int16s


class Sources(NamedTuple):
    """Sources of links, by item. All columns except `counts` are derived.

    counts: how often another item followed this one, decayed.
    d: int32 (rows, N_DERIVED), see D_FIRST.

    The lists of all sources share these arrays, BLOCK places each (see `spot`):

    n_used: the number of blocks in use, an array of one.
    target, amount, linked: the strongest links of a source, in no order: targets, counts on the scale of the epoch,
    and LINK and BEHIND.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    counts: Int64s
    d: Int32s
    n_used: Int64s
    target: UInt64s
    amount: Int64s
    linked: Int32s


class Rhythm(NamedTuple):
    """Times and weights that all links share.

    half_ms: the half-life in ms.
    epoch: the current epoch, an array of one.
    window_ms: the longest gap between two acts that still links them, in ms.
    reach: the weight of a link by the number of steps between the two acts.
    """

    half_ms: int
    epoch: Int64s
    window_ms: int
    reach: Int32s


@njit(cache=True)
def behind(actors: Int32s, link: int) -> int:
    """Return the number of actors behind a link."""
    n = 0
    for epoch in range(N_EPOCHS):
        n += actors[link, epoch]
    return n


@njit(cache=True)
def is_stronger(count: int, key: Key, other_count: int, other_key: Key) -> bool:
    """Return True if a link comes before another: by count, ties by key."""
    if count != other_count:
        return count > other_count
    return bool(key < other_key)


@njit(inline="always")
def spot(d: Int32s, row: int, place: int) -> int:
    """Return where a place of a source's list is in the arrays of all lists."""
    return (int(d[row, D_BLOCK + (place >> BLOCK_BITS)]) << BLOCK_BITS) + (place & (BLOCK - 1))


@njit(cache=True)
def _list_link(links: Links, sources: Sources, row: int, link: int, count: int, place: int) -> None:
    at = spot(sources.d, row, place)
    sources.target[at] = links.target[link]
    sources.amount[at] = count
    sources.linked[at, LINK] = link
    sources.linked[at, BEHIND] = behind(links.actors, link)
    links.place[link] = place


@njit(cache=True)
def _enter(links: Links, sources: Sources, row: int, link: int, count: int) -> None:
    """Add an unlisted link to its source's list if it is strong enough.

    O(N_NEIGHBOURS).
    """
    d = sources.d[row]
    n = d[D_LENGTH]
    if n < N_NEIGHBOURS:
        if n == d[D_N_BLOCKS] * BLOCK:
            d[D_BLOCK + d[D_N_BLOCKS]] = sources.n_used[0]
            d[D_N_BLOCKS] += 1
            sources.n_used[0] += 1
        d[D_LENGTH] = n + 1
        _list_link(links, sources, row, link, count, n)
        return
    weakest, at_weakest = 0, spot(sources.d, row, 0)
    least = sources.amount[at_weakest]
    for first in range(0, N_NEIGHBOURS, BLOCK):
        start = spot(sources.d, row, first)
        for at in range(start, start + BLOCK):
            amount = sources.amount[at]
            if amount < least or (
                amount == least
                and links.keys[sources.linked[at, LINK]] > links.keys[sources.linked[at_weakest, LINK]]
            ):
                weakest, at_weakest, least = first + at - start, at, amount
    out = sources.linked[at_weakest, LINK]
    if is_stronger(count, links.keys[link], least, links.keys[out]):
        links.place[out] = -1
        _list_link(links, sources, row, link, count, weakest)


@njit(cache=True)
def _list_anew(links: Links, sources: Sources, row: int, epoch: int) -> None:
    """Rebuild a source's list from all its links, in O(links of the source)."""
    sources.d[row, D_LENGTH] = 0
    link = sources.d[row, D_FIRST]
    while link >= 0:
        links.place[link] = -1
        _enter(links, sources, row, link, combined(links.counts, link, 0, epoch))
        link = links.following[link]


@njit(inline="always")
def _clear(d: Int32s) -> None:
    d[D_FIRST] = -1
    d[D_N_LINKS] = d[D_LENGTH] = d[D_N_BLOCKS] = 0


@njit(cache=True)
def derive(links: Links, sources: Sources, epoch: int) -> None:
    """Recompute every derived column.

    Every link's source must have a row. There must be room for a block a source, and one for every BLOCK links.
    """
    sources.n_used[0] = 0
    for row in range(sources.size[0]):
        _clear(sources.d[row])
    for link in range(links.size[0]):
        row = find(sources.slots, sources.keys, links.source[link])
        links.following[link] = sources.d[row, D_FIRST]
        sources.d[row, D_FIRST] = link
        sources.d[row, D_N_LINKS] += 1
    for row in range(sources.size[0]):
        _list_anew(links, sources, row, epoch)


@njit(cache=True)
def _credit(
    links: Links, sources: Sources, rhythm: Rhythm, source: Key, target: Key, weight: int, is_next: bool, at_ms: int
) -> None:
    """Add a weight and one actor to a link, at the link's own time.

    A negative weight removes them. If the counts do not cover that time, do nothing.
    """
    tick = at_ms * TICKS // rhythm.half_ms
    octave = tick >> TICK_BITS
    epoch, now = octave // EPOCH_OCTAVES, rhythm.epoch[0]
    if not now - N_EPOCHS < epoch <= now:
        return
    unit, slot = weight * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES), epoch % N_EPOCHS
    row = find(sources.slots, sources.keys, source)
    key = mix(source, target)
    link = find(links.slots, links.keys, key)
    if weight < 0 and (row < 0 or link < 0):
        return  # evicted since: there is nothing to remove
    if row < 0:
        row = add(sources.slots, sources.keys, sources.size, source)
        sources.counts[row] = 0
        _clear(sources.d[row])
    if is_next:
        sources.counts[row, 0, slot] += unit
    if link < 0:
        link = add(links.slots, links.keys, links.size, key)
        links.source[link], links.target[link] = source, target
        links.counts[link] = 0
        links.actors[link] = 0
        links.following[link] = sources.d[row, D_FIRST]
        links.place[link] = -1
        sources.d[row, D_FIRST] = link
        sources.d[row, D_N_LINKS] += 1
    links.counts[link, 0, slot] += unit
    links.actors[link, slot] += 1 if weight > 0 else -1
    count = combined(links.counts, link, 0, now)
    if links.place[link] < 0:
        if weight > 0:
            _enter(links, sources, row, link, count)
    else:
        _list_link(links, sources, row, link, count, links.place[link])
        if weight < 0 and sources.d[row, D_N_LINKS] > sources.d[row, D_LENGTH]:
            _list_anew(links, sources, row, now)


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
                _credit(
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
def outsiders(links: Links, sources: Sources, row: int, epoch: int, is_shown: Int8s) -> tuple[Int64s, Int64s]:
    """Return counts and actors of a source's links that are not shown.

    is_shown: int8 (N_NEIGHBOURS,), by place.
    """
    n_links = sources.d[row, D_N_LINKS]
    counts, actors = np.empty(n_links, np.int64), np.empty(n_links, np.int64)
    n = 0
    link = sources.d[row, D_FIRST]
    while link >= 0:
        if links.place[link] < 0 or not is_shown[links.place[link]]:
            counts[n] = combined(links.counts, link, 0, epoch)
            actors[n] = behind(links.actors, link)
            n += 1
        link = links.following[link]
    return counts[:n], actors[:n]


@njit(cache=True)
def rows_of_sources(links: Links, sources: Sources) -> Int64s:
    """Return the row of each link's source, (links,), or -1 where it has none."""
    rows = np.empty(links.size[0], np.int64)
    for link in range(links.size[0]):
        rows[link] = find(sources.slots, sources.keys, links.source[link])
    return rows


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
