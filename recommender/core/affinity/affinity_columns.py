"""Columns of affinity's tables, as the compiled loops take them.

Histories, Longer: the last units of each actor        Links, Sources: what followed what
"""

from typing import NamedTuple

from recommender.core.tables.hashing import Int8s, Int16s, Int32s, Int64s, UInt32s, UInt64s

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
