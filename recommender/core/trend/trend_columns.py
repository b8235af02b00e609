"""Columns of the trend's tables and of a batch, as its compiled loops take them."""

from typing import NamedTuple

import numpy as np

from recommender.core.tables.hashing import Int8s, Int16s, Int32s, Int64s, UInt32s, UInt64s
from recommender.core.trust import WEIGHT_ONE

LIST_DEPTH = 128  # places of a list, so that enough are left when the items already seen are skipped
PLACES = 20  # places that count as a hit
ORDINARY, TRUSTED, CANARY = 0, 1, 2  # kinds of predicted actors, see core.quality.evaluation
UNCHANGED, GAINED, CHANGED = 0, 1, 2  # outcomes of a unit, see Units
TRUSTED_WEIGHT = WEIGHT_ONE // 2
# mixed with an actor's key: a result below `Shown.panel` makes the actor a canary
PANEL = np.uint64(0x5EED0FCA4A127000)
RETRACTED = -(1 << 15)  # the weight of a unit removed for good: within the horizon the pair no longer counts


class Pairs(NamedTuple):
    """Rows of (actor, item).

    item: the item's key. at_ms: when the unit counts. weight: of the unit (negative: undone or RETRACTED, 0: not
    funded).
    country: of the unit. prefix: of the unit, 0 if unknown.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    at_ms: Int64s
    weight: Int16s
    country: Int16s
    prefix: UInt64s


class Actors(NamedTuple):
    """Rows of actors.

    spent: the part of its budget an actor has spent, decayed to `tick` (of the longest half-life).
    earned: its points that count now, in POINTs. pending: those that count from its next active day on.
    day_ms: when its active day began.

    A configuration with a large budget or many points has wider columns (`trend_tables`).
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    spent: Int32s
    tick: Int64s
    earned: Int16s
    pending: Int16s
    day_ms: Int64s


class Items(NamedTuple):
    """Rows of items, with decayed counts.

    counts: shape (rows, half-lives, N_EPOCHS).
    excess: derived, the sum of its networks less the amount they count for. An item's score is its count less that.
    removed: derived, the amount removed from its count of the served half-life since the row was made or restored.
    Each part is on the scale of the epoch at its removal.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    counts: Int64s
    excess: Int64s
    removed: Int64s


class Regions(NamedTuple):
    """Rows of (item, country) with decayed counts, for events that have a country."""

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    item: UInt64s
    country: Int16s
    counts: Int64s


class Networks(NamedTuple):
    """Rows of (item, prefix), and of (item, group of prefixes), with decayed counts.

    counts: of the served half-life, shape (rows, 1, N_EPOCHS).
    group: in a prefix's row the key of its group's row, which exists as long as it does. In a group's own row 0.
    knee: of prefixes and of groups, as counts now.

    These are derived:

    excess: the row's sum less the amount it counts for.
    below: in a group's row, the excess of its prefixes.
    is_listed, over, n_over: `over` holds the rows with an excess in its first n_over[0] places. `is_listed` marks
    them.
    """

    slots: UInt32s
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
    """Times of the trend.

    half_ms: the half-lives. longest_ms: the longest. epoch: the epoch each is in. horizon_ms: the horizon.
    budget: of an actor, see SPENT_BITS.
    """

    half_ms: Int64s
    longest_ms: int
    epoch: Int64s
    horizon_ms: int
    budget: int


class Leaders(NamedTuple):
    """The best items by the served half-life, kept sorted while counts rise.

    score, place: by item row. is_dirty[0]: 1 if a score fell and the list must be made anew.
    """

    rows: Int32s
    size: Int64s
    score: Int64s
    place: Int16s
    is_dirty: Int64s


class Shown(NamedTuple):
    """Lists that predictions are taken from, and reads of today.

    trending, daily, steady: item keys, best first.
    slots, keys, size, reads: today's reads by item.
    panel: an array of one, the bound below which an actor is on the canary panel.
    """

    trending: UInt64s
    daily: UInt64s
    steady: UInt64s
    slots: UInt32s
    keys: UInt64s
    size: Int64s
    reads: Int64s
    panel: UInt64s


class Events(NamedTuple):
    """Columns of a batch as the loop takes them.

    weight: in WEIGHT_ONE, 0 = not learned.
    """

    received_ms: Int64s
    own_ms: Int64s
    actor: UInt64s
    item: UInt64s
    kind: Int8s
    country: Int16s
    prefix: UInt64s
    weight: Int32s


class Units(NamedTuple):
    """Outcome of each event of a batch for its actor's unit on its item.

    change: GAINED for a new unit, CHANGED for a changed one, otherwise UNCHANGED.
    weight, at_ms: the unit's weight and time now. Below 0 it no longer counts. A canary's act gives no unit, and its
    weight is 0.
    """

    change: Int8s
    weight: Int32s
    at_ms: Int64s
