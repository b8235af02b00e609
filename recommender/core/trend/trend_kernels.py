"""The compiled loops of the trend: one pass over a batch counts every act, and tells where the lists showed it.

    fold(batch, ...)  one pass over a batch in log order; for each event
        the pair (actor, item) ─ seen before? ─ no ──> at which place did the lists show it?   (evaluation)
                                            └───────> credit its unit, once a horizon          (trend)
        its network's sum ─ above the knee? ─ yes ──> how much less than linear the item's score is

Integers only, see `core.tables.decay`; rows are found by their keys, see `core.tables.hashing`. Numba's cache on disk
notices a change of the file a loop stands in, not of the files whose loops it calls: `core.warmup` compiles all of
the core anew when any file of it has changed.
"""

from math import frexp, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from recommender.core.tables.decay import (
    EPOCH_OCTAVES,
    MAX_DECAY_OCTAVES,
    N_EPOCHS,
    POW,
    POW_BITS,
    TICK_BITS,
    TICKS,
    combined,
    decayed,
)
from recommender.core.tables.hashing import Int8s, Int16s, Int32s, Int64s, Key, UInt64s, add, find, mix
from recommender.core.trust import WEIGHT_BITS, WEIGHT_ONE, TrustRules
from recommender.core.vocabulary import UNDO

SPENT_BITS = 6  # budgets are counted in WEIGHT_ONE << 6
LIST_DEPTH = 128  # places of a list; the deeper, the more items seen already can be passed over
PLACES = 20  # places that count as a hit
ORDINARY, TRUSTED, CANARY = 0, 1, 2  # who was predicted, see core.quality.evaluation
UNCHANGED, GAINED, CHANGED = 0, 1, 2  # what became of a unit, see Units
TRUSTED_WEIGHT = WEIGHT_ONE // 2
PANEL = np.uint64(0x5EED0FCA4A127000)  # mixed with an actor's key; what comes out below `Shown.panel` is a canary
RETRACTED = -(1 << 30)  # the weight of a unit taken out for good: within the horizon the pair counts no more
GROUP_BITS = 32  # the upper half of a prefix's key is its group's (core.events.Encoder.network_key)
SIZE_CLASSES = 128  # of contributions, two an octave


class Pairs(NamedTuple):
    """(actor, item): the item, when its unit counts (ms), the unit's weight (negative: undone or RETRACTED; 0: not
    funded), its country, its prefix (0: unknown)."""

    slots: Int32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    at_ms: Int64s
    weight: Int32s
    country: Int16s
    prefix: UInt64s


class Actors(NamedTuple):
    """What an actor has spent of its budget, decayed to `tick` (of the longest half-life); what it has earned, in
    POINTs: `earned` counts, `pending` will count from its next active day on; when its active day began (ms)."""

    slots: Int32s
    keys: UInt64s
    size: Int64s
    spent: Int64s
    tick: Int64s
    earned: Int32s
    pending: Int32s
    day_ms: Int64s


class Items(NamedTuple):
    """Decayed counts by item; `counts` has shape (rows, half-lives, N_EPOCHS). `excess`, derived: what its networks
    have above what they count for; an item's score is its count less that. `removed`, derived: what was taken out of
    its count of the served half-life since the row was made or restored, on the scale of the epoch it was then."""

    slots: Int32s
    keys: UInt64s
    size: Int64s
    counts: Int64s
    excess: Int64s
    removed: Int64s


class Regions(NamedTuple):
    """The same by item and country, for events that have one."""

    slots: Int32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    country: Int16s
    counts: Int64s


class Networks(NamedTuple):
    """The same by item and prefix, and by item and group of prefixes; `counts` has shape (rows, 1, N_EPOCHS), of the
    served half-life. `group`: the key of a prefix's row for its group, which exists as long as it does; 0 in a
    group's own row. knee: of prefixes and of groups, as counts now.

    Derived: what a row has in excess of what it counts for; of a group's, what its prefixes have; `over` holds the
    rows with an excess (`is_listed`) in its first n_over[0] places."""

    slots: Int32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    group: UInt64s
    counts: Int64s
    excess: Int64s
    below: Int64s
    is_listed: Int8s
    over: Int32s
    n_over: Int64s
    knee: Int64s


class Clock(NamedTuple):
    """Half-lives in ms, the longest, the epoch each is in, the horizon in ms, the budget (see SPENT_BITS)."""

    half_ms: Int64s
    longest_ms: int
    epoch: Int64s
    horizon_ms: int
    budget: int


class Leaders(NamedTuple):
    """The best items by the served half-life, kept sorted while counts rise. `score` and `place` are by item row;
    is_dirty[0] says that something fell and the list must be made anew."""

    rows: Int32s
    size: Int64s
    score: Int64s
    place: Int16s
    is_dirty: Int64s


class Shown(NamedTuple):
    """The lists predictions are taken from (item keys, best first), today's reads by item, and the bound below which
    an actor is on the canary panel (an array of one)."""

    trending: UInt64s
    daily: UInt64s
    steady: UInt64s
    slots: Int32s
    keys: UInt64s
    size: Int64s
    reads: Int64s
    panel: UInt64s


class Events(NamedTuple):
    """The columns of a batch as the loop wants them; `weight` in WEIGHT_ONE, 0 = not learned."""

    received_ms: Int64s
    own_ms: Int64s
    actor: UInt64s
    item: UInt64s
    kind: Int8s
    country: Int16s
    prefix: UInt64s
    weight: Int32s


class Units(NamedTuple):
    """What each event of a batch did to its actor's unit on its item: a new one was GAINED, or the one there was
    CHANGED; the weight and the time it has now (a weight below 0: it counts no more). Of a canary's act, which gives
    no unit, the weight is 0."""

    change: Int8s
    weight: Int32s
    at_ms: Int64s


@njit(cache=True)
def _credit(table: Items | Regions | Networks, row: int, clock: Clock, weight: int, at_ms: int) -> None:
    """Add a unit's weight (negative: take it out) at its own time, to every half-life that still knows that time."""
    for half in range(table.counts.shape[1]):
        tick = at_ms * TICKS // clock.half_ms[half]
        octave = tick >> TICK_BITS
        epoch = octave // EPOCH_OCTAVES
        if clock.epoch[half] - N_EPOCHS < epoch <= clock.epoch[half]:
            unit = weight * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES)
            table.counts[row, half, epoch % N_EPOCHS] += unit


@njit(cache=True)
def contributions(pairs: Pairs, clock: Clock, half: int, item: Key) -> Int64s:
    """What every actor adds to an item's count of a half-life now; in no order."""
    found = np.empty(pairs.size[0], np.int64)
    n = 0
    for pair in range(pairs.size[0]):
        if pairs.item[pair] == item and pairs.weight[pair] > 0:
            tick = pairs.at_ms[pair] * TICKS // clock.half_ms[half]
            octave = tick >> TICK_BITS
            back = clock.epoch[half] - octave // EPOCH_OCTAVES
            if 0 <= back < N_EPOCHS:
                unit = pairs.weight[pair] * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES)
                found[n] = unit >> (EPOCH_OCTAVES * back)
                n += 1
    return found[:n]


@njit(cache=True)
def sizes_of(pairs: Pairs, clock: Clock, slots: Int32s, keys: UInt64s, n_items: int) -> Int64s:
    """What actors add to the counts of some items of the served half-life, by size, in one pass over all pairs.

    slots, keys: the items wanted, as an index from key to place. Returns int64 (n_items, SIZE_CLASSES, 3): of each
    class (two an octave) how many contributions, their sum, and the largest. 1 ns a pair, 15 ns one that counts.
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
            unit = pairs.weight[pair] * POW[tick & (TICKS - 1)] << (octave % EPOCH_OCTAVES)
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
    """What a network's sum is above what it counts for: amount - phi(amount), where phi(x) = x up to the knee C and
    2 sqrt(C x) - C beyond, so (sqrt(x) - sqrt(C))**2. At most amount - knee.

    A root, a difference and a product of doubles, each rounded as IEEE 754 says and none fused with another: the same
    on every machine, and never falling as the amount grows.
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
    """Make the excess of a network's row anew, and its item's. Returns by how much it changed."""
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
    """The row of an item's prefix or group; where it has none, one is made, or the answer is -1."""
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
def _credit_network(
    networks: Networks, items: Items, item_row: int, clock: Clock, prefix: Key, weight: int, at_ms: int
) -> None:
    """Move a unit in the rows of its prefix and its group, and the item's excess with them. Rows evicted since have
    nothing to take out."""
    item = items.keys[item_row]
    group_key = mix(item, (prefix >> np.uint64(GROUP_BITS)) << np.uint64(1))  # `mix` does not see the lowest bit
    group = _network_row(networks, group_key, item, np.uint64(0), weight > 0)
    row = _network_row(networks, mix(item, prefix), item, group_key, weight > 0)
    if row >= 0:
        _credit(networks, row, clock, weight, at_ms)
        change = _weigh(networks, row, items, item_row, clock)
        networks.below[group] += change
    if group >= 0:
        _credit(networks, group, clock, weight, at_ms)
        _weigh(networks, group, items, item_row, clock)


@njit(cache=True)
def weigh_all(networks: Networks, items: Items, clock: Clock) -> None:
    """Make everything derived of networks anew. Every row's item, and every prefix's group, must have a row."""
    items.excess[: items.size[0]] = 0
    n = networks.size[0]
    networks.excess[:n] = 0
    networks.below[:n] = 0
    networks.is_listed[:n] = 0
    networks.n_over[0] = 0
    for is_group in (False, True):  # a group's excess is of what its prefixes count for
        for row in range(n):
            if (networks.group[row] == 0) == is_group:
                item_row = find(items.slots, items.keys, networks.item[row])
                change = _weigh(networks, row, items, item_row, clock)
                if change and not is_group:
                    networks.below[find(networks.slots, networks.keys, networks.group[row])] += change


@njit(cache=True)
def weigh_over(networks: Networks, items: Items, leaders: Leaders, clock: Clock) -> None:
    """After the knees have moved: make anew what has an excess. (It only shrinks, so nothing else can get one.)"""
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
            _place(leaders, items.keys, item_row, score)
        networks.is_listed[row] = 0
        if networks.excess[row]:
            _list_over(networks, row)


@njit(cache=True)
def is_ahead(leaders: Leaders, keys: UInt64s, row: int, other: int) -> bool:
    """The order of a list: by score, ties by key."""
    if leaders.score[row] != leaders.score[other]:
        return leaders.score[row] > leaders.score[other]
    return keys[row] < keys[other]


@njit(cache=True)
def _place(leaders: Leaders, keys: UInt64s, row: int, score: int) -> None:
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
def _actor_row(actors: Actors, actor: Key, now_ms: int, clock: Clock) -> int:
    """The row of an actor, made where it has none."""
    row = find(actors.slots, actors.keys, actor)
    if row < 0:
        row = add(actors.slots, actors.keys, actors.size, actor)
        actors.spent[row] = 0
        actors.tick[row] = now_ms * TICKS // clock.longest_ms
        actors.earned[row] = 0
        actors.pending[row] = 0
        actors.day_ms[row] = -1
    return row


@njit(cache=True)
def _trust(actors: Actors, row: int, now_ms: int, is_new_item: bool, rules: TrustRules) -> int:
    """Enter an act into an actor's evidence; returns its weight, in [rules.floor, WEIGHT_ONE], by what it had earned
    before this active day."""
    begun_ms = actors.day_ms[row]
    if begun_ms < 0 or now_ms - begun_ms >= rules.day_ms:
        earned = min(actors.earned[row] + actors.pending[row], rules.full)
        if begun_ms >= 0:
            idle_ms = now_ms - begun_ms - rules.day_ms
            earned = decayed(earned, idle_ms * TICKS // rules.idle_half_ms)
        actors.earned[row] = earned
        actors.pending[row] = rules.per_day
        actors.day_ms[row] = now_ms
    elif is_new_item:
        actors.pending[row] = min(actors.pending[row] + rules.per_item, rules.per_day + rules.item_cap)
    return rules.floor + (WEIGHT_ONE - rules.floor) * actors.earned[row] // rules.full


@njit(cache=True)
def _spend(actors: Actors, row: int, cost: int, now_ms: int, clock: Clock) -> bool:
    """Charge an actor's budget; False, and nothing charged, where it does not reach. What was spent decays with the
    longest half-life, rounded up, so that no count, decaying at least as fast, can hold more than the budget."""
    tick = now_ms * TICKS // clock.longest_ms
    spent = actors.spent[row]
    elapsed = tick - actors.tick[row]
    if elapsed > 0:
        octaves = elapsed >> TICK_BITS
        factor = POW[TICKS - (elapsed & (TICKS - 1))]
        spent = (spent * factor + (1 << (POW_BITS + 1)) - 1) >> (POW_BITS + 1)
        spent = 0 if octaves > MAX_DECAY_OCTAVES else (spent + (1 << octaves) - 1) >> octaves
        actors.tick[row] = tick
    is_funded = spent + (cost << SPENT_BITS) <= clock.budget
    actors.spent[row] = spent + (cost << SPENT_BITS) if is_funded else spent
    return is_funded


@njit(cache=True)
def _rank(shown: UInt64s, pairs: Pairs, actor: Key, item: Key) -> int:
    """The place (1..PLACES) of an item in a list without what the actor has seen; PLACES + 1 where it is none."""
    place = 0
    for other in shown:
        if other == item:
            return place + 1
        if find(pairs.slots, pairs.keys, mix(actor, other)) < 0:
            place += 1
            if place == PLACES:
                break
    return PLACES + 1


@njit(cache=True)
def _move(
    items: Items,
    regions: Regions,
    networks: Networks,
    leaders: Leaders,
    clock: Clock,
    item: Key,
    country: int,
    prefix: Key,
    weight: int,
    at_ms: int,
) -> None:
    """Credit (or, with a negative weight, take out) a unit in the item's row, in its country's and its networks'. A
    row evicted since has nothing to take out."""
    row = find(items.slots, items.keys, item)
    if row < 0:
        if weight < 0:
            return
        row = add(items.slots, items.keys, items.size, item)
        items.counts[row] = 0
        items.excess[row] = 0
        items.removed[row] = 0
        leaders.score[row] = 0
        leaders.place[row] = -1
    epoch = clock.epoch[0]
    if weight < 0:
        items.removed[row] += combined(items.counts, row, 0, epoch)
    _credit(items, row, clock, weight, at_ms)
    count = combined(items.counts, row, 0, epoch)
    if weight < 0:
        items.removed[row] -= count
    if prefix:
        _credit_network(networks, items, row, clock, prefix, weight, at_ms)
    _place(leaders, items.keys, row, count - items.excess[row])
    if country:
        key = mix(item, np.uint64(country) << np.uint64(1))  # `mix` does not see the lowest bit
        region = find(regions.slots, regions.keys, key)
        if region < 0:
            if weight < 0:
                return
            region = add(regions.slots, regions.keys, regions.size, key)
            regions.item[region] = item
            regions.country[region] = country
            regions.counts[region] = 0
        _credit(regions, region, clock, weight, at_ms)


@njit(cache=True)
def _recount(
    pairs: Pairs,
    pair: int,
    items: Items,
    regions: Regions,
    networks: Networks,
    leaders: Leaders,
    clock: Clock,
    item: Key,
    weight: int,
    at_ms: int,
) -> None:
    """Let a pair's unit be `weight` at `at_ms` instead of what it is; a weight <= 0 counts nothing."""
    country, prefix = pairs.country[pair], pairs.prefix[pair]
    held = pairs.weight[pair]
    if held > 0:
        _move(items, regions, networks, leaders, clock, item, country, prefix, -held, pairs.at_ms[pair])
    if weight > 0:
        _move(items, regions, networks, leaders, clock, item, country, prefix, weight, at_ms)
    pairs.weight[pair] = weight
    pairs.at_ms[pair] = at_ms


@njit(cache=True)
def fold(
    events: Events,
    pairs: Pairs,
    actors: Actors,
    items: Items,
    regions: Regions,
    networks: Networks,
    clock: Clock,
    rules: TrustRules,
    leaders: Leaders,
    shown: Shown,
    ranks: Int8s,
    first_events: Int32s,
    units: Units,
) -> None:
    """Fold a batch in log order. Writes ranks[i] = places in the lists (0: not predicted) and who acted (ORDINARY,
    TRUSTED, CANARY), for every item row made the event that made it into first_events, and into units what became of
    each event's unit. See recommender.core.trend.trend for the rules of a unit. Of a canary only the pair is
    remembered."""
    n_before = items.size[0]
    for i in range(events.item.size):
        weight, kind = events.weight[i], events.kind[i]
        if weight <= 0:
            continue
        actor, item, own_ms = events.actor[i], events.item[i], events.own_ms[i]
        n_items = items.size[0]
        key = mix(actor, item)
        pair = find(pairs.slots, pairs.keys, key)

        if kind == UNDO:
            if pair >= 0 and pairs.weight[pair] > 0:
                undone, at_ms = -pairs.weight[pair], pairs.at_ms[pair]
                _recount(pairs, pair, items, regions, networks, leaders, clock, item, undone, at_ms)
                units.change[i], units.weight[i], units.at_ms[i] = CHANGED, undone, at_ms
            continue

        if mix(actor, PANEL) < shown.panel[0]:
            if pair < 0:
                ranks[i, 0] = _rank(shown.trending, pairs, actor, item)
                ranks[i, 1] = _rank(shown.daily, pairs, actor, item)
                ranks[i, 2] = _rank(shown.steady, pairs, actor, item)
                ranks[i, 3] = CANARY
                pair = add(pairs.slots, pairs.keys, pairs.size, key)
                pairs.item[pair] = item
                pairs.weight[pair] = 0
                pairs.at_ms[pair] = own_ms
                pairs.country[pair] = 0
                pairs.prefix[pair] = 0
                units.change[i], units.weight[i], units.at_ms[i] = GAINED, 0, own_ms
            continue

        now_ms = events.received_ms[i]
        row = _actor_row(actors, actor, now_ms, clock)
        cost = weight
        trust = _trust(actors, row, now_ms, pair < 0, rules)
        weight = weight * trust >> WEIGHT_BITS
        if pair < 0:
            ranks[i, 3] = TRUSTED if trust >= TRUSTED_WEIGHT else ORDINARY
            ranks[i, 0] = _rank(shown.trending, pairs, actor, item)
            ranks[i, 1] = _rank(shown.daily, pairs, actor, item)
            ranks[i, 2] = _rank(shown.steady, pairs, actor, item)
            read = find(shown.slots, shown.keys, item)
            if read < 0:
                read = add(shown.slots, shown.keys, shown.size, item)
                shown.reads[read] = 0
            shown.reads[read] += 1
            pair = add(pairs.slots, pairs.keys, pairs.size, key)
            pairs.item[pair] = item
            pairs.weight[pair] = 0
            pairs.at_ms[pair] = own_ms
            pairs.country[pair] = 0  # a row may have been another's, and where no budget reaches it stays as it is
            pairs.prefix[pair] = 0

        held, gap = pairs.weight[pair], own_ms - pairs.at_ms[pair]
        if held == RETRACTED and gap < clock.horizon_ms:
            continue
        if held == 0 or gap >= clock.horizon_ms:  # a unit of its own; one of an earlier horizon stands as it is
            if _spend(actors, row, cost, now_ms, clock):
                pairs.weight[pair] = 0
                pairs.country[pair] = events.country[i]
                pairs.prefix[pair] = events.prefix[i]
                _recount(pairs, pair, items, regions, networks, leaders, clock, item, weight, own_ms)
                units.change[i], units.weight[i], units.at_ms[i] = GAINED, weight, own_ms
        elif gap > -clock.horizon_ms:  # inside the horizon: the strongest act, at the earliest time
            strongest = max(abs(held), weight)
            if strongest > abs(held) and not _spend(actors, row, cost, now_ms, clock):
                strongest = abs(held)
            earliest = min(pairs.at_ms[pair], own_ms)
            if strongest != held or earliest != pairs.at_ms[pair]:
                _recount(pairs, pair, items, regions, networks, leaders, clock, item, strongest, earliest)
                units.change[i], units.weight[i], units.at_ms[i] = CHANGED, strongest, earliest

        if items.size[0] > n_items:
            first_events[n_items - n_before] = i


@njit(cache=True)
def fold_packed(
    events: tuple[Any, ...],
    tables: tuple[Any, ...],
    shown: tuple[Any, ...],
    ranks: Int8s,
    first_events: Int32s,
    units: tuple[Any, ...],
) -> None:
    """`fold` for a caller from Python: a named tuple costs twice a plain one on its way in (10 us a call, not 4)."""
    pairs, actors, items, regions, networks, clock, rules, leaders = tables
    fold(
        Events(*events),
        Pairs(*pairs),
        Actors(*actors),
        Items(*items),
        Regions(*regions),
        Networks(*networks),
        Clock(*clock),
        TrustRules(*rules),
        Leaders(*leaders),
        Shown(*shown),
        ranks,
        first_events,
        Units(*units),
    )


@njit(cache=True)
def retract(
    acting: UInt64s,
    acted_on: UInt64s,
    pairs: Pairs,
    items: Items,
    regions: Regions,
    networks: Networks,
    clock: Clock,
    leaders: Leaders,
) -> int:
    """Take the units of (actor, item) pairs out at their own times, for good. Returns how many there were."""
    n = 0
    for i in range(acting.size):
        pair = find(pairs.slots, pairs.keys, mix(acting[i], acted_on[i]))
        if pair >= 0 and pairs.weight[pair] != RETRACTED:
            n += pairs.weight[pair] > 0
            _recount(pairs, pair, items, regions, networks, leaders, clock, acted_on[i], RETRACTED, pairs.at_ms[pair])
    return n


@njit(cache=True)
def reinstate(acting: UInt64s, acted_on: UInt64s, pairs: Pairs) -> int:
    """Let pairs whose unit was retracted count again from their next act on. Returns how many there were."""
    n = 0
    for i in range(acting.size):
        pair = find(pairs.slots, pairs.keys, mix(acting[i], acted_on[i]))
        if pair >= 0 and pairs.weight[pair] == RETRACTED:
            pairs.weight[pair] = 0
            n += 1
    return n
