"""All links shown next to items, for the publisher, in one pass over the links.

    links by source ──> those shown, strongest first ──> item rows, strengths, actors behind, prices

A price is a lower bound of `place_prices.link_margins` at O(1) per link. It combines the highest count and the most
actors of all links not shown, as if one link had both. Sources and targets that the trend has evicted are skipped.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.affinity.affinity import Affinity
from recommender.core.affinity.affinity_columns import D_FIRST, N_NEIGHBOURS, Links, Sources
from recommender.core.affinity.link_kernels import behind, is_stronger
from recommender.core.tables.decay import combined
from recommender.core.tables.hashing import UInt32s, UInt64s, find
from recommender.core.trend import Trend


class PublishedLinks(NamedTuple):
    """All shown links: s sources, l links.

    sources: int32 (s,), rows of Trend.names.
    ends: int64 (s,), the position after the last link of each source.
    targets: int32 (l,), rows of Trend.names.
    strengths: float32 (l,), as `candidates` scores them.
    actors: int32 (l,), the actors behind each link.
    prices: int32 (l,), a lower bound on the new actors that take its place.
    """

    sources: NDArray[np.int32]
    ends: NDArray[np.int64]
    targets: NDArray[np.int32]
    strengths: NDArray[np.float32]
    actors: NDArray[np.int32]
    prices: NDArray[np.int32]


def published_links(affinity: Affinity, trend: Trend, now_ms: int, smoothing: float) -> PublishedLinks:
    """Return all shown links, with strengths and prices. It changes nothing."""
    _, links, sources, _, _ = affinity.packed
    unit, least, fresh = affinity.unit(now_ms), affinity.least(now_ms), affinity.fresh(now_ms)
    return PublishedLinks(
        *_shown(
            links,
            sources,
            trend.items.slots,
            trend.items.keys,
            (unit, least, max(1, fresh), affinity.min_actors, affinity.epoch),
            smoothing,
        )
    )


@njit(cache=True)
def _shown(
    packed_links: tuple[Any, ...],
    packed_sources: tuple[Any, ...],
    slots: UInt32s,
    keys: UInt64s,
    now: tuple[int, int, int, int, int],
    smoothing: float,
) -> tuple[Any, ...]:
    links, sources = Links(*packed_links), Sources(*packed_sources)
    unit, least, fresh, min_actors, epoch = now
    most = sources.size[0] * N_NEIGHBOURS
    from_rows, ends = np.empty(sources.size[0], np.int32), np.empty(sources.size[0], np.int64)
    targets, actors, prices = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    strengths, counts = np.empty(most, np.float32), np.empty(most, np.int64)
    ranks = np.empty(N_NEIGHBOURS, np.uint64)  # keys of links, for ties
    n = n_sources = 0
    for row in range(sources.size[0]):
        source = find(slots, keys, sources.keys[row])
        began = n
        if source < 0:
            continue
        out = combined(sources.counts, row, 0, epoch)
        followed = max(out, 0) / unit + smoothing
        highest, busiest = 0, 0
        link = sources.d[row, D_FIRST]
        while link >= 0:
            count, n_actors = combined(links.counts, link, 0, epoch), behind(links.actors, link)
            is_listed = links.place[link] >= 0 and count >= least and n_actors >= min_actors
            target = find(slots, keys, links.target[link]) if is_listed else -1
            if target < 0:
                highest, busiest = max(highest, count), max(busiest, n_actors)
            else:
                key, at = links.keys[link], n
                while at > began and is_stronger(count, key, counts[at - 1], ranks[at - 1 - began]):
                    targets[at], counts[at], actors[at] = targets[at - 1], counts[at - 1], actors[at - 1]
                    ranks[at - began] = ranks[at - 1 - began]
                    at -= 1
                targets[at], counts[at], actors[at], ranks[at - began] = target, count, n_actors, key
                n += 1
            link = links.following[link]
        for at in range(began, n):
            strengths[at] = counts[at] / unit / followed
            by_weight = max(counts[at] - highest, least - highest) // fresh
            prices[at] = min(max(1, by_weight, min_actors - busiest), 2_147_483_647)
        if n > began:
            from_rows[n_sources], ends[n_sources] = source, n
            n_sources += 1
    return from_rows[:n_sources], ends[:n_sources], targets[:n], strengths[:n], actors[:n], prices[:n]
