"""Names of the features, of their tables' columns, flags and thresholds. No code.

Most tables are one int64 matrix with a row for each key. Counts are in ONE = 2**16. The kernels see a Table as
`FeatureRows`, `ActorRows` or `PairRows`. Columns that few rows need are tables of their own: members, sketches and
bands.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS, SECOND_MS

Float64s = NDArray[np.float64]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Int8s = NDArray[np.int8]
UInt32s = NDArray[np.uint32]
UInt64s = NDArray[np.uint64]

ONE = 1 << 16
SESSION_MS = 30 * MINUTE_MS  # an actor that is silent for longer begins a new session
IMPUTED_GAP_MS = 30 * SECOND_MS  # some logs set the last click of a session exactly this long after the one before

FEATURES = (
    *("repeat", "concentration", "newness", "regular", "undo", "shallow"),  # of the actor
    *("burst", "rise", "novel", "fresh", "direct", "metronome", "overlap"),  # of the item's window
    *("prefix", "new_prefix", "agent"),  # of the network the event came from
    "duplicate",  # of the item's window too, but only for reviewers: no rule, forest or score reads it
)
REPEAT, CONCENTRATION, NEWNESS, REGULAR, UNDONE, SHALLOW = range(6)
BURST, RISE, NOVEL, FRESH, DIRECT, METRONOME, OVERLAP, PREFIX, NEW_PREFIX, AGENT = range(6, 16)
DUPLICATE = 16
N_FEATURES = len(FEATURES)

# columns of the actors: of 64 bits ...
A_LAST, A_FIRST, A_N, A_UNDOS, A_TOP, A_TOP_N, A_GAP2, A_SESSION, A_LAST_ITEM = range(9)
N_ACTOR = 9
# ... and of 32 bits
C_GAPS, C_GAP, C_IN_SESSION, C_ITEMS = range(4)
N_COUNTS = 4
GAPS_COUNTED = 255  # gaps are counted no further, since no rule asks for more
# columns of members: actors that took part in bursts, or belong to a cohort
M_COHORT, M_COHORT_MS, M_NEXT_BURST, M_BURSTS = range(4)
N_BURSTS = 6  # the last bursts an actor took part in
N_MEMBER = M_BURSTS + N_BURSTS
# columns of sketches: minima of the hashes of a young actor's first items (core.features.near_duplicates)
K_FIRST_MS, K_MINIMA = range(2)
N_MINIMA = 6
N_SKETCH = K_MINIMA + N_MINIMA
# columns of the items' matrix, and of the site's
I_LAST, I_N1M, I_N1H, I_N24H, I_NOVEL1M, I_NOVEL1H, I_FRESH1H, I_DIRECT1H, I_REFERRED1H = range(9)
I_ARRIVALS, I_GAP, I_GAP2, I_PREFIXED1H, I_NEWPREFIX1H, I_AGENTS1H = range(9, 15)
I_CONDEMNED = 15  # until this time, newcomers who go nowhere else are not believed
I_EXPECTED24H, I_CAME24H = 16, 17  # held newcomers expected to go on, and those who did
I_YOUNG1M, I_YOUNG1H = 18, 19
# newcomers who came back to it, newcomers who left it within seconds, undos
I_AGAIN1H, I_HASTY1H, I_UNDONE1H = 20, 21, 22
I_UNDONE_MS = 23  # when its clickers were found to undo their acts
I_GREEN1M, I_GREEN1H = 24, 25  # who came from another item, within an hour of their first act on the site
I_BELIEVED = 26  # until this time, most newcomers are not held, because earlier held ones read on
# young clickers with three known items, and those of them whose band was met here before
I_BANDED1H, I_SHARED1H = 27, 28
N_ITEM = 29
# further columns of the site's row: newcomers, and those of them who went on
S_BEGUN24H, S_RETURNED24H, S_YOUNG24H, S_WENTON24H = range(29, 33)
# bursts looked at, mean share that met before, its square
S_MEETINGS, S_MEET, S_MEET2 = 33, 34, 35
N_SITE = 36
# columns of an item's bands: when their counters were last halved, the bands, their counters
D_HALVED_MS, D_BANDS = range(2)
N_BAND_COUNTERS = 8
D_COUNTS = D_BANDS + N_BAND_COUNTERS
N_BANDS = D_COUNTS + N_BAND_COUNTERS
BY_HOUR = (
    *(I_N1H, I_NOVEL1H, I_FRESH1H, I_DIRECT1H, I_REFERRED1H, I_PREFIXED1H, I_NEWPREFIX1H, I_AGENTS1H, I_YOUNG1H),
    *(I_AGAIN1H, I_HASTY1H, I_UNDONE1H, I_GREEN1H, I_BANDED1H, I_SHARED1H),
)
BY_DAY = (I_N24H, I_EXPECTED24H, I_CAME24H)
OF_SITE_BY_DAY = (S_BEGUN24H, S_RETURNED24H, S_YOUNG24H, S_WENTON24H)
# columns of links: an item with a prefix or agent, the site with a prefix or agent. Only the site's links with a
# prefix have L_FIRST
L_LAST, L_N, L_FIRST = range(3)
N_LINK = 3
# marks of an actor's acts on an item: none, the act was undone, or it was condemned
UNMARKED, IS_TAKEN_BACK, IS_CONDEMNED = 0, -1, -2
MOST_CLICKS = (1 << 31) - 1  # clicks of an actor on an item are counted up to 32,767 in a day
# columns of current bursts, by item, with a count for each earlier burst that its clickers have in common
V_ID, V_START, V_N, V_LAST, V_EXPOSED, V_MET, V_ROOTS = range(7)
N_ROOTS = 16
V_COUNTS = V_ROOTS + N_ROOTS
N_LIVE = V_COUNTS + N_ROOTS
# columns of past and current bursts: the cohort, when it began (a cohort's: when it last met), the item, clickers
B_PARENT, B_START, B_ITEM, B_N = range(4)
N_BURST = 4
# columns of the ring of recent first acts
# R_NTH: the number of this item among the actor's, if it is in its first hour, else 0
R_ACTOR, R_ITEM, R_ORDINAL, R_IN_BURST, R_AT, R_NTH = range(6)
N_RING = 6
LOOK_BACK = 4096
HASTY_MS = 15 * SECOND_MS  # an actor that opens the next item so soon has not read this one
UNDO_MS = 10 * MINUTE_MS  # an undo this soon after the act is evidence about the act
YOUNG_ITEMS = 3  # an actor is a newcomer on its first items, up to this many ...
YOUNG_MS = HOUR_MS  # ... within this time after its first act

IS_ACTIVE, IS_BURST, IS_NOVEL, IS_CROWD, IS_LOCKSTEP, IS_COHORT, IS_FLOOD, IS_REGULAR = (1 << bit for bit in range(8))
IS_NETWORK, IS_ASKED, IS_SHUNNED, IS_LEANING, IS_BELIEVED = (1 << bit for bit in range(8, 13))
# evidence about a crowd, see `evidence_of`
CAMOUFLAGED, INSISTENT, HASTY, TAKEN_BACK = (1 << bit for bit in range(4))
TO_DECIDE = IS_CROWD | IS_LOCKSTEP | IS_COHORT | IS_FLOOD | IS_NETWORK | IS_ASKED | IS_SHUNNED


class FeatureRows(NamedTuple):
    """A Table with its one matrix."""

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    c: Int64s


class ActorRows(NamedTuple):
    """Rows of actors: a matrix of 64 bits (A_...), and one of 32 bits (C_...)."""

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    c: Int64s
    counts: Int32s


class PairRows(NamedTuple):
    """Rows of (actor, item).

    last_ms: of the last act. n: clicks, in ONE, decayed by a day, at most MOST_CLICKS. mark: of the acts.
    """

    slots: UInt32s
    keys: UInt64s
    size: Int64s
    last_ms: Int64s
    n: Int32s
    mark: Int8s


class Acts(NamedTuple):
    """Columns of a batch that the features are made of.

    `is_seen`: 0 = leave this event out.
    """

    received_ms: Int64s
    actor: UInt64s
    item: UInt64s
    kind: Int8s
    session: UInt64s
    prefix: UInt64s
    agent: UInt64s
    referrer: UInt64s
    is_seen: Int8s


class Limits(NamedTuple):
    """Thresholds of core.screen.screen.ScreenConfig that the loop needs."""

    burst_n: int
    burst_z: float
    crowd_n: int
    crowd_share: float
    crowd_z: float
    lockstep_n: int
    lockstep_share: float
    lockstep_cover: float
    cohort_ms: int
    flood_n: int
    return_ms: int
    pure_n: int
    pure_share: float
