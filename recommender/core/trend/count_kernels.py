"""Compiled loops on counts.

They credit a unit, weigh networks concavely, keep the leaders sorted, and find sizes. Integer sums only, see
`core.tables.decay`. The loops over events are in `trend_kernels`.
"""

from math import frexp, sqrt

import numpy as np
from numba import njit

from recommender.core.tables.decay import (
    EPOCH_OCTAVES,
    N_EPOCHS,
    POW,
    TICK_BITS,
    TICKS,
    combined,
)
from recommender.core.tables.hashing import Int64s, Key, UInt32s, UInt64s, add, find, mix
from recommender.core.trend.trend_columns import Clock, Items, Leaders, Networks, Pairs, Regions

GROUP_BITS = 32  # the upper half of a prefix's key is its group's (core.events.Encoder.network_key)
SIZE_CLASSES = 128  # of contributions, two classes an octave


@njit(cache=True)
def credit(table: Items | Regions | Networks, row: int, clock: Clock, weight: int, at_ms: int) -> None:
    """Add a unit's weight at its own time to every half-life.

    A half-life whose epochs do not reach that time is skipped. A negative weight removes it.
    """
    for half in range(table.counts.shape[1]):
        tick = at_ms * TICKS // clock.half_ms[half]
        octave = tick >> TICK_BITS
        epoch = octave // EPOCH_OCTAVES
        if clock.epoch[half] - N_EPOCHS < epoch <= clock.epoch[half]:
            unit = weight * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES)
            table.counts[row, half, epoch % N_EPOCHS] += unit


@njit(cache=True)
def contributions(pairs: Pairs, clock: Clock, half: int, item: Key) -> Int64s:
    """Return the amounts that actors add to an item's count now, in no order."""
    found = np.empty(pairs.size[0], np.int64)
    n = 0
    for pair in range(pairs.size[0]):
        if pairs.item[pair] == item and pairs.weight[pair] > 0:
            tick = pairs.at_ms[pair] * TICKS // clock.half_ms[half]
            octave = tick >> TICK_BITS
            back = clock.epoch[half] - octave // EPOCH_OCTAVES
            if 0 <= back < N_EPOCHS:
                unit = np.int64(pairs.weight[pair]) * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES)
                found[n] = unit >> (EPOCH_OCTAVES * back)
                n += 1
    return found[:n]


@njit(cache=True)
def sizes_of(pairs: Pairs, clock: Clock, slots: UInt32s, keys: UInt64s, n_items: int) -> Int64s:
    """Return, by size, the amounts that actors add to the counts of some items.

    One pass over all pairs, for the served half-life.

    slots, keys: the items wanted, as an index from key to place.

    Returns int64 (n_items, SIZE_CLASSES, 3). Each class (two an octave) has the number of contributions, their sum
    and the largest. 1 ns a pair, 15 ns for one that counts.
    """
    found = np.zeros((n_items, SIZE_CLASSES, 3), np.int64)
    half_ms, epoch = clock.half_ms[0], clock.epoch[0]
    since_ms = (epoch - N_EPOCHS + 1) * EPOCH_OCTAVES * half_ms
    for pair in range(pairs.size[0]):
        if pairs.at_ms[pair] < since_ms or pairs.weight[pair] <= 0:
            continue
        place = find(slots, keys, pairs.item[pair])
        if place < 0:
            continue
        tick = pairs.at_ms[pair] * TICKS // half_ms
        octave = tick >> TICK_BITS
        back = epoch - octave // EPOCH_OCTAVES
        if 0 <= back < N_EPOCHS:
            unit = np.int64(pairs.weight[pair]) * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES)
            unit >>= EPOCH_OCTAVES * back
            if unit > 0:
                mantissa, exponent = frexp(float(unit))
                in_class = found[place, 2 * exponent + (mantissa >= 0.75)]
                in_class[0] += 1
                in_class[1] += unit
                in_class[2] = max(in_class[2], unit)
    return found


@njit(cache=True)
def excess_of(amount: int, knee: int) -> int:
    """Return a network's sum less the amount it counts for: amount - phi(amount).

    Here phi(x) = x up to the knee C and 2 sqrt(C x) - C beyond, so the result is (sqrt(x) - sqrt(C))**2. It is at
    most amount - knee.

    It takes a root, a difference and a product of doubles, each rounded by IEEE 754 and none fused with another. So
    it is the same on every machine, and it never falls as the amount grows.
    """
    if amount <= knee:
        return 0
    beyond = sqrt(float(amount)) - sqrt(float(knee))
    return int(beyond * beyond)


@njit(cache=True)
def _list_over(networks: Networks, row: int) -> None:
    if not networks.is_listed[row]:
        networks.is_listed[row] = 1
        networks.over[networks.n_over[0]] = row
        networks.n_over[0] += 1


@njit(cache=True)
def _weigh(networks: Networks, row: int, items: Items, item_row: int, clock: Clock) -> int:
    """Make the excess of a network's row anew, and its item's excess with it.

    Returns by how much the excess changed.
    """
    amount = combined(networks.counts, row, 0, clock.epoch[0]) - networks.below[row]
    excess = excess_of(amount, networks.knee[0 if networks.group[row] else 1])
    change = excess - networks.excess[row]
    if change:
        networks.excess[row] = excess
        items.excess[item_row] += change
        _list_over(networks, row)
    return change


@njit(cache=True)
def _network_row(networks: Networks, key: Key, item: Key, group: Key, is_made: bool) -> int:
    """Return the row of an item's prefix or group.

    If there is none, make one, or return -1 if `is_made` is False.
    """
    row = find(networks.slots, networks.keys, key)
    if row < 0 and is_made:
        row = add(networks.slots, networks.keys, networks.size, key)
        networks.item[row] = item
        networks.group[row] = group
        networks.counts[row] = 0
        networks.excess[row] = 0
        networks.below[row] = 0
        networks.is_listed[row] = 0
    return row


@njit(cache=True)
def credit_network(
    networks: Networks, items: Items, item_row: int, clock: Clock, prefix: Key, weight: int, at_ms: int
) -> None:
    """Credit a unit in the rows of its prefix and its group.

    The item's excess changes with them. Rows evicted since have nothing to remove.
    """
    item = items.keys[item_row]
    group_key = mix(item, (prefix >> np.uint64(GROUP_BITS)) << np.uint64(1))  # `mix` does not see the lowest bit
    group = _network_row(networks, group_key, item, np.uint64(0), weight > 0)
    row = _network_row(networks, mix(item, prefix), item, group_key, weight > 0)
    if row >= 0:
        credit(networks, row, clock, weight, at_ms)
        change = _weigh(networks, row, items, item_row, clock)
        networks.below[group] += change
    if group >= 0:
        credit(networks, group, clock, weight, at_ms)
        _weigh(networks, group, items, item_row, clock)


@njit(cache=True)
def weigh_all(networks: Networks, items: Items, clock: Clock) -> None:
    """Make all derived columns of networks anew.

    Every row's item, and every prefix's group, must have a row.
    """
    items.excess[: items.size[0]] = 0
    n = networks.size[0]
    networks.excess[:n] = 0
    networks.below[:n] = 0
    networks.is_listed[:n] = 0
    networks.n_over[0] = 0
    for is_group in (False, True):  # a group's excess is of the amounts its prefixes count for
        for row in range(n):
            if (networks.group[row] == 0) == is_group:
                item_row = find(items.slots, items.keys, networks.item[row])
                change = _weigh(networks, row, items, item_row, clock)
                if change and not is_group:
                    networks.below[find(networks.slots, networks.keys, networks.group[row])] += change


@njit(cache=True)
def weigh_over(networks: Networks, items: Items, leaders: Leaders, clock: Clock) -> None:
    """Make all excesses anew after the knees have moved.

    Excesses only shrink then, so no other row can get one.
    """
    n_before = networks.n_over[0]
    for i in range(n_before):
        row = networks.over[i]
        if networks.group[row]:
            item_row = find(items.slots, items.keys, networks.item[row])
            change = _weigh(networks, row, items, item_row, clock)
            if change:
                group = find(networks.slots, networks.keys, networks.group[row])
                networks.below[group] += change
                _list_over(networks, group)
    n = networks.n_over[0]
    for i in range(n):
        row = networks.over[i]
        if networks.group[row] == 0:
            _weigh(networks, row, items, find(items.slots, items.keys, networks.item[row]), clock)
    networks.n_over[0] = 0
    for i in range(n):
        row = networks.over[i]
        item_row = find(items.slots, items.keys, networks.item[row])
        score = combined(items.counts, item_row, 0, clock.epoch[0]) - items.excess[item_row]
        if score != leaders.score[item_row]:
            place_leader(leaders, items.keys, item_row, score)
        networks.is_listed[row] = 0
        if networks.excess[row]:
            _list_over(networks, row)


@njit(cache=True)
def is_ahead(leaders: Leaders, keys: UInt64s, row: int, other: int) -> bool:
    """Return True if a row is ahead of another in a list: by score, ties by key."""
    if leaders.score[row] != leaders.score[other]:
        return leaders.score[row] > leaders.score[other]
    return keys[row] < keys[other]


@njit(cache=True)
def place_leader(leaders: Leaders, keys: UInt64s, row: int, score: int) -> None:
    """Enter an item's new score into the sorted list."""
    fell = score < leaders.score[row]
    leaders.score[row] = score
    if fell:
        leaders.is_dirty[0] = 1
    if leaders.is_dirty[0]:
        return
    place = leaders.place[row]
    if place < 0:
        if score <= 0:
            return
        if leaders.size[0] < leaders.rows.size:
            place = leaders.size[0]
            leaders.size[0] = place + 1
        else:
            last = leaders.rows[leaders.rows.size - 1]
            if not is_ahead(leaders, keys, row, last):
                return
            leaders.place[last] = -1
            place = leaders.rows.size - 1
    while place > 0 and is_ahead(leaders, keys, row, leaders.rows[place - 1]):
        ahead = leaders.rows[place - 1]
        leaders.rows[place] = ahead
        leaders.place[ahead] = place
        place -= 1
    leaders.rows[place] = row
    leaders.place[row] = place


@njit(cache=True)
def rows_with_counts(counts: Int64s, n: int) -> Int64s:
    """Return which of the first n rows have a count that is not 0, ascending."""
    kept = np.empty(n, np.int64)
    size = 0
    for row in range(n):
        is_empty = True
        for half in range(counts.shape[1]):
            for epoch in range(N_EPOCHS):
                is_empty &= counts[row, half, epoch] == 0
        if not is_empty:
            kept[size] = row
            size += 1
    return kept[:size]
