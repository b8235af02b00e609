"""Compiled loops of places: where an item was among an actor's candidates.

    last items ──> neighbours of each, that are shown ──> affinity by item row ┐
                                            trend: share of the board's mass   ├──> score ──> place among the unseen

These are floats, but only sums, products and quotients in a fixed order. So they are the same on every machine.
`gather_kernels` makes the list of candidates by the same scores.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.affinity.affinity_columns import (
    AT_MS,
    BEHIND,
    BLOCK,
    D_LENGTH,
    HISTORY,
    ITEM,
    Histories,
    Longer,
    Sources,
)
from recommender.core.affinity.affinity_kernels import load
from recommender.core.affinity.link_kernels import spot
from recommender.core.tables.decay import combined
from recommender.core.tables.hashing import Int8s, Int32s, Int64s, Key, UInt32s, UInt64s, find, mix
from recommender.core.trend.trend_columns import PLACES, Events, Items, Leaders, Pairs
from recommender.core.vocabulary import UNDO

Float64s = NDArray[np.float64]
ASKED = np.uint64(0xA5CED0F1457B2000)  # mixed with an actor's key; low results are asked


class Recipe(NamedTuple):
    """Settings and times by which candidates are scored.

    unit, least, min_actors, epoch: of affinity now.
    recall: the factor of the last item, of the one before and so on.
    smoothing: units.
    blend: the factor of affinity, added to the trend's share.
    """

    unit: int
    least: int
    min_actors: int
    epoch: int
    recall: Float64s
    smoothing: float
    blend: float


class Scratch(NamedTuple):
    """Memory of one call, by item row.

    affinity: 0 except within a call.
    rows: the rows whose affinity is not 0.
    """

    affinity: Float64s
    rows: Int32s


@njit(cache=True)
def strength(count: int, out: int, recipe: Recipe) -> float:
    """Return the smoothed share of a source's actors who followed this link.

    Both numbers are in units. Without smoothing a link would be strongest where the least is known.
    """
    return count / recipe.unit / (max(out, 0) / recipe.unit + recipe.smoothing)


@njit(cache=True)
def add_neighbours(
    sources: Sources, row: int, factor: float, items: Items, recipe: Recipe, scratch: Scratch, n: int
) -> int:
    """Add the items shown next to a source to the affinities, times a factor.

    row: the source's row.
    n: items that had an affinity before. Returns how many have one now.
    """
    out = combined(sources.counts, row, 0, recipe.epoch)
    for place in range(sources.d[row, D_LENGTH]):
        at = spot(sources.d, row, place)
        count = sources.amount[at]
        if count < recipe.least or sources.linked[at, BEHIND] < recipe.min_actors:
            continue
        item = find(items.slots, items.keys, sources.target[at])
        if item < 0:
            continue
        if scratch.affinity[item] == 0.0:
            scratch.rows[n] = item
            n += 1
        scratch.affinity[item] += factor * strength(count, out, recipe)
    return n


@njit(cache=True)
def _is_beside(behind: Int32s, n: int, sources: Sources, item: Key, recipe: Recipe) -> bool:
    """Return True if an item is shown next to one of the first n sources of `behind`."""
    for row in behind[:n]:
        length = sources.d[row, D_LENGTH] if row >= 0 else 0
        for first in range(0, length, BLOCK):
            start = spot(sources.d, row, first)
            for at in range(start, start + min(BLOCK, length - first)):
                if (
                    sources.target[at] == item
                    and sources.amount[at] >= recipe.least
                    and sources.linked[at, BEHIND] >= recipe.min_actors
                ):
                    return True
    return False


@njit(cache=True)
def board_mass(leaders: Leaders) -> float:
    """Return the sum of the board's scores, at least 1."""
    mass = 1
    for place in range(leaders.size[0]):
        mass += leaders.score[leaders.rows[place]]
    return float(mass)


@njit(cache=True)
def _is_unseen(actor: Key, item: Key, pairs: Pairs, batch_slots: Int32s, events: Events) -> bool:
    key = mix(actor, item)
    return find(pairs.slots, pairs.keys, key) < 0 and _find_event(batch_slots, key, actor, item, events) < 0


@njit(cache=True)
def _find_event(slots: Int32s, key: Key, actor: Key, item: Key, events: Events) -> int:
    """Return the batch's event of an actor and an item, entered under a key, or -1.

    An item of 0 matches any item.
    """
    mask = np.uint64(slots.size - 1)
    slot = key & mask
    while slots[slot] >= 0:
        event = slots[slot]
        if events.actor[event] == actor and (item == 0 or events.item[event] == item):
            return event
        slot = (slot + np.uint64(1)) & mask
    return -1


@njit(cache=True)
def _enter_event(slots: Int32s, key: Key, event: int) -> None:
    mask = np.uint64(slots.size - 1)
    slot = key & mask
    while slots[slot] >= 0:
        slot = (slot + np.uint64(1)) & mask
    slots[slot] = event


@njit(cache=True)
def _place(
    actor: Key,
    row: int,
    n: int,
    mass: float,
    pairs: Pairs,
    items: Items,
    leaders: Leaders,
    recipe: Recipe,
    scratch: Scratch,
    seen: Int32s,
    events: Events,
) -> int:
    """Return a candidate's place (1..PLACES) among items the actor has not seen.

    PLACES + 1 means that it is further down. The board is read only down to the first score below the candidate's.
    Items with affinity come after that, at any score. Whether the actor has seen an item is checked last, because
    this costs the most.
    """
    affinity = scratch.affinity
    score = leaders.score[row] / mass + recipe.blend * affinity[row]
    key = items.keys[row]
    n_ahead = 0
    for i in range(leaders.size[0]):
        other = leaders.rows[i]
        its = leaders.score[other] / mass
        if its < score:
            break
        if affinity[other] == 0.0 and other != row and (its > score or items.keys[other] < key):
            n_ahead += _is_unseen(actor, items.keys[other], pairs, seen, events)
            if n_ahead == PLACES:
                return PLACES + 1
    for i in range(n):
        other = scratch.rows[i]
        its = leaders.score[other] / mass + recipe.blend * affinity[other]
        if (its > score or (its == score and items.keys[other] < key)) and other != row:
            n_ahead += _is_unseen(actor, items.keys[other], pairs, seen, events)
            if n_ahead == PLACES:
                return PLACES + 1
    return n_ahead + 1


@njit(cache=True)
def _last_sources(
    events: Events,
    i: int,
    before: Int32s,
    at: int,
    h: Int64s,
    n: int,
    slots: UInt32s,
    keys: UInt64s,
    behind: Int32s,
) -> int:
    """Write the source rows of the last items of an event's actor, newest first.

    Items of this batch come first, from event `at` on, then those of the actor's history. The row is -1 for an item
    that is no source. Returns how many were written.

    h: the n units of the history. slots, keys: of the sources.
    """
    n_recent = 0
    while at >= 0 and n_recent < behind.size:
        if events.own_ms[at] <= events.own_ms[i]:
            behind[n_recent] = find(slots, keys, events.item[at])
            n_recent += 1
        at = before[at]
    at = n - 1
    while at >= 0 and n_recent < behind.size:
        if h[at, AT_MS] <= events.own_ms[i]:
            behind[n_recent] = find(slots, keys, np.uint64(h[at, ITEM]))
            n_recent += 1
        at -= 1
    return n_recent


@njit(cache=True)
def first_acts(packed_events: tuple[Any, ...], rows: Int64s, tables: tuple[Any, ...]) -> Int8s:
    """Return which of these rows are first acts of their actor on their item.

    int8 (n,), 0 for all other events. Call it before the batch is learned, and for few rows, since each costs
    O(batch).
    """
    events, pairs = Events(*packed_events), Pairs(*tables[0])
    is_first = np.zeros(events.item.size, np.int8)
    for row in rows:
        actor, item = events.actor[row], events.item[row]
        is_known = events.weight[row] <= 0 or events.kind[row] == UNDO
        is_known = is_known or find(pairs.slots, pairs.keys, mix(actor, item)) >= 0
        for other in range(0 if is_known else row):
            if events.actor[other] == actor and events.item[other] == item:
                is_known |= events.weight[other] > 0 and events.kind[other] != UNDO
        is_first[row] = not is_known
    return is_first


@njit(cache=True)
def predict(
    packed_events: tuple[Any, ...],
    tables: tuple[Any, ...],
    affinity: tuple[Any, ...],
    recipe_values: tuple[Any, ...],
    scratch_arrays: tuple[Any, ...],
    asked: Key,
    places: Int8s,
) -> None:
    """Write the place that each event's item had for its actor, 1 to PLACES + 1.

    The place follows from the counts before the batch and from the acts of the actor until then, in this batch too.
    It is 0 if the event is not the actor's first act on the item, or if the actor's key, mixed with ASKED, is above
    `asked`. First acts must be the same as in `trend_kernels.fold`.
    """
    events, history, source = Events(*packed_events), Histories(*affinity[0]), Sources(*affinity[2])
    longer = Longer(*affinity[4])
    pairs, items, leaders = Pairs(*tables[0]), Items(*tables[2]), Leaders(*tables[7])
    recipe, scratch = Recipe(*recipe_values), Scratch(*scratch_arrays)
    n_events = events.item.size
    size = 4
    while size < 2 * n_events:
        size *= 2
    seen, last = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
    before = np.full(n_events, -1, np.int32)  # the actor's previous act in this batch
    newest = np.full(n_events, -1, np.int32)  # an actor's newest act, stored at its first act of this batch
    h = np.zeros((HISTORY + 1, 3), np.int64)
    behind = np.empty(recipe.recall.size, np.int32)  # rows of the actor's last items, as sources
    mass = board_mass(leaders)
    for i in range(n_events):
        actor, item = events.actor[i], events.item[i]
        if events.weight[i] <= 0 or events.kind[i] == UNDO or mix(actor, ASKED) > asked:
            continue
        if not _is_unseen(actor, item, pairs, seen, events):
            continue
        first = _find_event(last, actor, actor, np.uint64(0), events)
        own = find(items.slots, items.keys, item)
        places[i] = PLACES + 1
        if own >= 0:
            newest_act = newest[first] if first >= 0 else -1
            known = find(history.slots, history.keys, actor)
            n = load(history, longer, known, h) if known >= 0 else 0
            n_recent = _last_sources(events, i, before, newest_act, h, n, source.slots, source.keys, behind)
            if leaders.place[own] >= 0 or _is_beside(behind, n_recent, source, item, recipe):
                n = 0
                for k in range(n_recent):
                    if behind[k] >= 0:
                        n = add_neighbours(source, behind[k], recipe.recall[k], items, recipe, scratch, n)
                places[i] = _place(actor, own, n, mass, pairs, items, leaders, recipe, scratch, seen, events)
                for k in range(n):
                    scratch.affinity[scratch.rows[k]] = 0.0
        _enter_event(seen, mix(actor, item), i)
        if first < 0:
            _enter_event(last, actor, i)
            newest[i] = i
        else:
            before[i] = newest[first]
            newest[first] = i
