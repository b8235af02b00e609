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
N_BLOCKS = N_NEIGHBOURS // BLOCK


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
    first, n_links: the first link of the source, and how many it has.
    length: the number of links listed, at most N_NEIGHBOURS.
    n_blocks, block: the blocks of places that the source has got.

    The lists of all sources share these arrays, BLOCK places each (see `spot`):

    n_used: the number of blocks in use, an array of one.
    link, target, amount, actors: rows, targets, counts (on the scale of the epoch) and numbers of actors of the
    strongest links, in no order.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    counts: Int64s
    first: Int32s
    n_links: Int32s
    length: Int16s
    n_blocks: Int8s
    block: Int32s
    n_used: Int64s
    link: Int32s
    target: UInt64s
    amount: Int64s
    actors: Int32s


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
def spot(sources: Sources, row: int, place: int) -> int:
    """Return where the place of a source's list is in the arrays of all lists."""
    return (np.int64(sources.block[row, place >> BLOCK_BITS]) << BLOCK_BITS) + (place & (BLOCK - 1))


@njit(cache=True)
def _list_link(links: Links, sources: Sources, row: int, link: int, count: int, place: int) -> None:
    at = spot(sources, row, place)
    sources.link[at] = link
    sources.target[at] = links.target[link]
    sources.amount[at] = count
    sources.actors[at] = behind(links.actors, link)
    links.place[link] = place


@njit(cache=True)
def _enter(links: Links, sources: Sources, row: int, link: int, count: int) -> None:
    """Add an unlisted link to its source's list if it is strong enough.

    O(N_NEIGHBOURS).
    """
    n = sources.length[row]
    if n < N_NEIGHBOURS:
        if n == sources.n_blocks[row] * BLOCK:
            sources.block[row, sources.n_blocks[row]] = sources.n_used[0]
            sources.n_blocks[row] += 1
            sources.n_used[0] += 1
        sources.length[row] = n + 1
        _list_link(links, sources, row, link, count, n)
        return
    weakest, at_weakest = 0, spot(sources, row, 0)
    for place in range(1, n):
        at = spot(sources, row, place)
        if is_stronger(
            sources.amount[at_weakest],
            links.keys[sources.link[at_weakest]],
            sources.amount[at],
            links.keys[sources.link[at]],
        ):
            weakest, at_weakest = place, at
    out = sources.link[at_weakest]
    if is_stronger(count, links.keys[link], sources.amount[at_weakest], links.keys[out]):
        links.place[out] = -1
        _list_link(links, sources, row, link, count, weakest)


@njit(cache=True)
def _list_anew(links: Links, sources: Sources, row: int, epoch: int) -> None:
    """Rebuild a source's list from all its links, in O(links of the source)."""
    sources.length[row] = 0
    link = sources.first[row]
    while link >= 0:
        links.place[link] = -1
        _enter(links, sources, row, link, combined(links.counts, link, 0, epoch))
        link = links.following[link]


@njit(cache=True)
def blocks_needed(links: Links, sources: Sources) -> int:
    """Return how many blocks the lists of all sources take."""
    sources.n_links[: sources.size[0]] = 0
    for link in range(links.size[0]):
        sources.n_links[find(sources.slots, sources.keys, links.source[link])] += 1
    n = 0
    for row in range(sources.size[0]):
        n += (min(sources.n_links[row], N_NEIGHBOURS) + BLOCK - 1) >> BLOCK_BITS
    return n


@njit(cache=True)
def derive(links: Links, sources: Sources, epoch: int) -> None:
    """Recompute every derived column. Every link's source must have a row, and there must be `blocks_needed`."""
    sources.n_used[0] = 0
    for row in range(sources.size[0]):
        sources.first[row] = -1
        sources.n_links[row] = 0
        sources.n_blocks[row] = 0
    for link in range(links.size[0]):
        row = find(sources.slots, sources.keys, links.source[link])
        links.following[link] = sources.first[row]
        sources.first[row] = link
        sources.n_links[row] += 1
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
        sources.first[row] = -1
        sources.n_links[row] = 0
        sources.length[row] = 0
        sources.n_blocks[row] = 0
    if is_next:
        sources.counts[row, 0, slot] += unit
    if link < 0:
        link = add(links.slots, links.keys, links.size, key)
        links.source[link], links.target[link] = source, target
        links.counts[link] = 0
        links.actors[link] = 0
        links.following[link] = sources.first[row]
        links.place[link] = -1
        sources.first[row] = link
        sources.n_links[row] += 1
    links.counts[link, 0, slot] += unit
    links.actors[link, slot] += 1 if weight > 0 else -1
    count = combined(links.counts, link, 0, now)
    if links.place[link] < 0:
        if weight > 0:
            _enter(links, sources, row, link, count)
    else:
        _list_link(links, sources, row, link, count, links.place[link])
        if weight < 0 and sources.n_links[row] > sources.length[row]:
            _list_anew(links, sources, row, now)


@njit(inline="always")
def _longer_row(histories: Histories, row: int, longer: Longer) -> int:
    """Return the row of `Longer` of a history, or -1 if it is short."""
    return find(longer.slots, longer.keys, histories.keys[row]) if histories.length[row] > SHORT else -1


@njit(inline="always")
def at_of(histories: Histories, row: int, longer: Longer, rest: int, place: int) -> int:
    """Return the time of a unit. rest: the history's row of `Longer`."""
    return histories.at_ms[row, place] if place < SHORT else longer.at_ms[rest, place - SHORT]


@njit(inline="always")
def item_of(histories: Histories, row: int, longer: Longer, rest: int, place: int) -> Key:
    """Return the item of a unit. rest: the history's row of `Longer`."""
    return histories.item[row, place] if place < SHORT else longer.item[rest, place - SHORT]


@njit(inline="always")
def _weight_of(histories: Histories, row: int, longer: Longer, rest: int, place: int) -> int:
    return np.int64(histories.weight[row, place]) if place < SHORT else np.int64(longer.weight[rest, place - SHORT])


@njit(inline="always")
def _put(
    histories: Histories, row: int, longer: Longer, rest: int, place: int, item: Key, at_ms: int, weight: int
) -> None:
    if place < SHORT:
        histories.item[row, place] = item
        histories.at_ms[row, place] = at_ms
        histories.weight[row, place] = weight
    else:
        longer.item[rest, place - SHORT] = item
        longer.at_ms[rest, place - SHORT] = at_ms
        longer.weight[rest, place - SHORT] = weight


@njit(cache=True)
def _add_links(
    histories: Histories,
    row: int,
    longer: Longer,
    rest: int,
    first: int,
    sign: int,
    links: Links,
    sources: Sources,
    rhythm: Rhythm,
) -> None:
    """Add the links of a history whose target is unit `first` or a later one.

    With sign -1 they are removed. Each unit is linked with those before it, the nearer the more. A link counts at its
    target's own time, with the lesser of the two weights.
    """
    for place in range(max(first, 1), histories.length[row]):
        at_ms = at_of(histories, row, longer, rest, place)
        weight = _weight_of(histories, row, longer, rest, place)
        for steps in range(1, min(place, rhythm.reach.size) + 1):
            before = place - steps
            if at_ms - at_of(histories, row, longer, rest, before) > rhythm.window_ms:
                break
            lesser = min(weight, _weight_of(histories, row, longer, rest, before))
            weighs = lesser * np.int64(rhythm.reach[steps - 1]) >> WEIGHT_BITS
            if weighs > 0:
                _credit(
                    links,
                    sources,
                    rhythm,
                    item_of(histories, row, longer, rest, before),
                    item_of(histories, row, longer, rest, place),
                    sign * weighs,
                    steps == 1,
                    at_ms,
                )


@njit(cache=True)
def _drop_oldest(histories: Histories, row: int, longer: Longer, rest: int, n: int) -> None:
    """Forget the first n units, but keep their links."""
    length = histories.length[row]
    histories.since_ms[row] = at_of(histories, row, longer, rest, n - 1)
    for place in range(n, length):
        _copy(histories, row, longer, rest, place, place - n)
    histories.length[row] = length - n


@njit(cache=True)
def _copy(histories: Histories, row: int, longer: Longer, rest: int, place: int, to: int) -> None:
    _put(
        histories,
        row,
        longer,
        rest,
        to,
        item_of(histories, row, longer, rest, place),
        at_of(histories, row, longer, rest, place),
        _weight_of(histories, row, longer, rest, place),
    )


@njit(cache=True)
def _place_of(histories: Histories, row: int, longer: Longer, rest: int, item: Key) -> int:
    for place in range(histories.length[row]):
        if item_of(histories, row, longer, rest, place) == item:
            return place
    return -1


@njit(cache=True)
def _take_out(
    histories: Histories,
    row: int,
    longer: Longer,
    rest: int,
    place: int,
    links: Links,
    sources: Sources,
    rhythm: Rhythm,
) -> None:
    """Remove a unit from a history, and from the links, as if it had never been there."""
    _add_links(histories, row, longer, rest, place, -1, links, sources, rhythm)
    for later in range(place + 1, histories.length[row]):
        _copy(histories, row, longer, rest, later, later - 1)
    histories.length[row] -= 1
    _add_links(histories, row, longer, rest, place, 1, links, sources, rhythm)


@njit(cache=True)
def _put_in(
    histories: Histories,
    row: int,
    longer: Longer,
    item: Key,
    at_ms: int,
    weight: int,
    links: Links,
    sources: Sources,
    rhythm: Rhythm,
) -> None:
    """Insert a unit into a history, and into the links, at its own time.

    A unit at or before `since_ms`, the time of the newest forgotten unit, is ignored.
    """
    if at_ms <= histories.since_ms[row]:
        return
    rest = -1
    if histories.length[row] >= SHORT:
        rest = find(longer.slots, longer.keys, histories.keys[row])
        if rest < 0:
            rest = add(longer.slots, longer.keys, longer.size, histories.keys[row])
            longer.item[rest] = 0
            longer.at_ms[rest] = 0
            longer.weight[rest] = 0
    place = histories.length[row]
    while place > 0 and (
        at_of(histories, row, longer, rest, place - 1) > at_ms
        or (
            at_of(histories, row, longer, rest, place - 1) == at_ms
            and item_of(histories, row, longer, rest, place - 1) > item
        )
    ):
        place -= 1
    # The arrays have one place more than a history keeps, so there is room until the oldest unit is dropped.
    _add_links(histories, row, longer, rest, place, -1, links, sources, rhythm)
    for later in range(histories.length[row], place, -1):
        _copy(histories, row, longer, rest, later - 1, later)
    _put(histories, row, longer, rest, place, item, at_ms, weight)
    histories.length[row] += 1
    _add_links(histories, row, longer, rest, place, 1, links, sources, rhythm)
    if histories.length[row] > HISTORY:
        _drop_oldest(histories, row, longer, rest, 1)


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

    A weight below 0 means that the unit is lost.
    """
    histories, links, sources, rhythm, longer = (
        Histories(*tables[0]),
        Links(*tables[1]),
        Sources(*tables[2]),
        Rhythm(*tables[3]),
        Longer(*tables[4]),
    )
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
        rest = _longer_row(histories, row, longer)
        place = _place_of(histories, row, longer, rest, item[i])
        if place >= 0:
            if change[i] == GAINED:  # a unit of an earlier horizon: it keeps its links, and so do those before it
                _drop_oldest(histories, row, longer, rest, place + 1)
            else:
                _take_out(histories, row, longer, rest, place, links, sources, rhythm)
        if weight[i] >= 0:
            _put_in(histories, row, longer, item[i], at_ms[i], weight[i], links, sources, rhythm)


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
        rest = _longer_row(histories, row, longer)
        _add_links(histories, row, longer, rest, 0, -1, links, sources, rhythm)
        histories.length[row] = 0


@njit(cache=True)
def outsiders(links: Links, sources: Sources, row: int, epoch: int, is_shown: Int8s) -> tuple[Int64s, Int64s]:
    """Return counts and actors of a source's links that are not shown.

    is_shown: int8 (N_NEIGHBOURS,), by place.
    """
    counts, actors = np.empty(sources.n_links[row], np.int64), np.empty(sources.n_links[row], np.int64)
    n = 0
    link = sources.first[row]
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
    """Return the time of each history's last unit, or `since_ms` if that is later, int64 (histories,)."""
    found = np.empty(histories.size[0], np.int64)
    for row in range(histories.size[0]):
        length = histories.length[row]
        found[row] = histories.since_ms[row]
        if length:
            last = at_of(histories, row, longer, _longer_row(histories, row, longer), length - 1)
            found[row] = max(found[row], last)
    return found
