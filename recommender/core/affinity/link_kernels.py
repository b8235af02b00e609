"""Compiled loops of links: their counts, and the strongest of each source.

    credit: a weight and an actor, added to a link or removed ──> counts of the link and of its source
            ──> the source's list, always its N_NEIGHBOURS strongest links

`affinity_kernels` decides which links an act adds. See `core.tables.decay` for the counting.
"""

import numpy as np
from numba import njit

from recommender.core.affinity.affinity_columns import (
    BEHIND,
    BLOCK,
    BLOCK_BITS,
    D_BLOCK,
    D_FIRST,
    D_LENGTH,
    D_N_BLOCKS,
    D_N_LINKS,
    LINK,
    N_NEIGHBOURS,
    Links,
    Rhythm,
    Sources,
)
from recommender.core.tables.decay import EPOCH_OCTAVES, N_EPOCHS, POW, TICK_BITS, TICKS, combined
from recommender.core.tables.hashing import Int8s, Int32s, Int64s, Key, add, find, mix


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
def credit(
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
