"""Compiled loops of the trend, which count acts and find their places in lists.

    fold(batch, ...)  one pass over a batch in log order, and for each event
        the pair (actor, item) ─ seen before? ─ no ──> at which place did the lists show it?   (evaluation)
                                            └───────> credit its unit, once a horizon          (trend)
        its network's sum ─ above the knee? ─ yes ──> how much less than linear the item's score is

Integers only, see `core.tables.decay`. Rows are found by their keys, see `core.tables.hashing`.

Numba's cache on disk notices a change of a loop's own file, but not of the files whose loops it calls. `core.warmup`
compiles all of the core anew when any file of it has changed.
"""

from typing import Any

import numpy as np
from numba import njit

from recommender.core.tables.decay import (
    MAX_DECAY_OCTAVES,
    POW,
    POW_BITS,
    TICK_BITS,
    TICKS,
    combined,
    decayed,
)
from recommender.core.tables.hashing import Int8s, Int32s, Int64s, Key, UInt64s, add, find, mix
from recommender.core.trend.count_kernels import credit, credit_network, place_leader
from recommender.core.trend.trend_columns import (
    CANARY,
    CHANGED,
    GAINED,
    ORDINARY,
    PANEL,
    PLACES,
    RETRACTED,
    TRUSTED,
    TRUSTED_WEIGHT,
    Actors,
    Clock,
    Events,
    Items,
    Leaders,
    Networks,
    Pairs,
    Regions,
    Shown,
    Units,
)
from recommender.core.trust import WEIGHT_BITS, WEIGHT_ONE, TrustRules
from recommender.core.vocabulary import UNDO

SPENT_BITS = 6  # budgets are counted in WEIGHT_ONE << 6


@njit(cache=True)
def _actor_row(actors: Actors, actor: Key, now_ms: int, clock: Clock) -> int:
    """Return the row of an actor, and make one if it has none."""
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
    """Enter an act into an actor's evidence, and return the act's trust.

    The trust is in [rules.floor, WEIGHT_ONE]. It depends on the points earned before this active day.
    """
    begun_ms = actors.day_ms[row]
    if begun_ms < 0 or now_ms - begun_ms >= rules.day_ms:
        earned = min(int(actors.earned[row]) + actors.pending[row], rules.full)
        if begun_ms >= 0:
            idle_ms = now_ms - begun_ms - rules.day_ms
            earned = decayed(earned, idle_ms * TICKS // rules.idle_half_ms)
        actors.earned[row] = earned
        actors.pending[row] = rules.per_day
        actors.day_ms[row] = now_ms
    elif is_new_item:
        actors.pending[row] = min(actors.pending[row] + rules.per_item, rules.per_day + rules.item_cap)
    return rules.floor + (WEIGHT_ONE - rules.floor) * int(actors.earned[row]) // rules.full


@njit(cache=True)
def _spend(actors: Actors, row: int, cost: int, now_ms: int, clock: Clock) -> bool:
    """Charge an actor's budget, and return True if the budget is enough.

    Otherwise nothing is charged. The spent amount decays with the longest half-life, rounded up. Every count decays
    at least as fast, so none can hold more than the budget.
    """
    tick = now_ms * TICKS // clock.longest_ms
    spent = int(actors.spent[row])
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
    """Return the place (1..PLACES) of an item in a list.

    Items that the actor has seen take no place. The result is PLACES + 1 if the item has no place.
    """
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
    """Credit a unit in the item's row, and in those of its country and networks.

    A negative weight removes the unit. A row evicted since has nothing to remove.
    """
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
    credit(items, row, clock, weight, at_ms)
    count = combined(items.counts, row, 0, epoch)
    if weight < 0:
        items.removed[row] -= count
    if prefix:
        credit_network(networks, items, row, clock, prefix, weight, at_ms)
    place_leader(leaders, items.keys, row, count - items.excess[row])
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
        credit(regions, region, clock, weight, at_ms)


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
    """Replace a pair's unit by one of `weight` at `at_ms`.

    A weight <= 0 counts nothing.
    """
    country, prefix = pairs.country[pair], pairs.prefix[pair]
    held = int(pairs.weight[pair])
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
    """Fold a batch in log order.

    Writes three results:

    ranks[i]: places in the lists (0: not predicted), and the kind of actor (ORDINARY, TRUSTED, CANARY).
    first_events: for every new item row, the event that made it.
    units: the outcome of each event's unit.

    See recommender.core.trend.trend for the rules of a unit. Of a canary's act only the pair is remembered.
    """
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
                undone, at_ms = -int(pairs.weight[pair]), pairs.at_ms[pair]
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
            pairs.country[pair] = 0  # a reused row may hold old values, and they stay if the budget is spent
            pairs.prefix[pair] = 0

        held, gap = int(pairs.weight[pair]), own_ms - pairs.at_ms[pair]
        if held == RETRACTED and gap < clock.horizon_ms:
            continue
        if held == 0 or gap >= clock.horizon_ms:  # a unit of its own; one of an earlier horizon stays as it is
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
    """Call `fold` with plain tuples.

    A named tuple from Python costs twice as much as a plain one (10 us a call, not 4).
    """
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
    """Remove the units of (actor, item) pairs for good, each at its own time.

    Returns how many there were.
    """
    n = 0
    for i in range(acting.size):
        pair = find(pairs.slots, pairs.keys, mix(acting[i], acted_on[i]))
        if pair >= 0 and pairs.weight[pair] != RETRACTED:
            n += pairs.weight[pair] > 0
            _recount(pairs, pair, items, regions, networks, leaders, clock, acted_on[i], RETRACTED, pairs.at_ms[pair])
    return n


@njit(cache=True)
def reinstate(acting: UInt64s, acted_on: UInt64s, pairs: Pairs) -> int:
    """Let pairs whose unit was retracted count again from their next act on.

    Returns how many there were.
    """
    n = 0
    for i in range(acting.size):
        pair = find(pairs.slots, pairs.keys, mix(acting[i], acted_on[i]))
        if pair >= 0 and pairs.weight[pair] == RETRACTED:
            pairs.weight[pair] = 0
            n += 1
    return n


@njit(cache=True)
def actors_that_matter(actors: Actors, now_ms: int, clock: Clock, rules: TrustRules) -> Int64s:
    """Return the rows of actors that differ from an actor never seen, ascending.

    An actor matters while it has spent something of its budget, or has points. The points of one visit take about a
    year to fade with the default idle half-life. An actor that ever earned points is not dropped.
    """
    kept = np.empty(actors.size[0], np.int64)
    n = 0
    tick = now_ms * TICKS // clock.longest_ms
    for row in range(actors.size[0]):
        has_spent = actors.spent[row] > 0 and tick - actors.tick[row] <= (MAX_DECAY_OCTAVES + 1) << TICK_BITS
        idle_ms = now_ms - actors.day_ms[row] - rules.day_ms
        has_points = actors.earned[row] != 0 or idle_ms < 0
        if not has_points:
            pending = min(int(actors.pending[row]), rules.full)
            has_points = decayed(pending, idle_ms * TICKS // rules.idle_half_ms) > 0
        if has_spent or has_points:
            kept[n] = row
            n += 1
    return kept[:n]
