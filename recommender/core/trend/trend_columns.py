"""The columns of the trend's tables, and of a batch, as its compiled loops take them."""

from typing import NamedTuple

import numpy as np

from recommender.core.tables.hashing import Int8s, Int16s, Int32s, Int64s, UInt64s
from recommender.core.trust import WEIGHT_ONE

LIST_DEPTH = 128  # places of a list; the deeper, the more items seen already can be passed over
PLACES = 20  # places that count as a hit
ORDINARY, TRUSTED, CANARY = 0, 1, 2  # who was predicted, see core.quality.evaluation
UNCHANGED, GAINED, CHANGED = 0, 1, 2  # what became of a unit, see Units
TRUSTED_WEIGHT = WEIGHT_ONE // 2
PANEL = np.uint64(0x5EED0FCA4A127000)  # mixed with an actor's key; what comes out below `Shown.panel` is a canary
RETRACTED = -(1 << 30)  # the weight of a unit taken out for good: within the horizon the pair counts no more


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
