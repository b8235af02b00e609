"""Near-duplicate sessions: young clickers of an item who read the same items.

    first five items of a young actor ──> six minima (MinHash, its sketch) ──three items──> one band of all six
                                                                                              │ each time it comes
                                                                                              v to an item
    the item's last bands, eight counters (Misra-Gries) ── met before? ──> I_SHARED1H of I_BANDED1H
                                           the same of the rest of the site ──> in excess? ──> `duplicate` in [0, 1]

Compiled, and called by feature_kernels.observe.

A replayed visit has human pauses, human order and new accounts. The one thing it cannot change without becoming
another visit is its set of items (MinHash: Broder, SEQUENCES 1997). Two sets that share a part J of all their items
have the band in common with probability J**6. That is 1 for the same items in any order, and 0.09 for four of five
items and another. So an attacker passes by replacing one item.

Two bands of three minima would make it replace two (0.51 after one, 0.16 after two), but they also find the habits of
honest newcomers. On the first 300,000 rows of a news log, 13.7 % of events met a window beyond 0.25, and one in a
hundred a window beyond 0.60. With one band of six the figures are 3.6 % and 0.34, and at most 0.44 on the first
200,000 rows. From five items on, instead of three, it is at most 0.13. The hashes are of items' keys, which are keyed
with the deployment's secret. So no one outside can make sets that collide.

**Known limits.** A young actor is within an hour of its first act. Below three items it has no band. It is then not
entered, and is no evidence for or against its item. So a target that is spliced in first or second is not seen in
that session. If the target is the third to fifth item, the band is of the items so far, the target included. From
the sixth item on, the band is of the first five. With fewer than LEAST entries in a window, its `duplicate` is 0.

**Bounds.** Seven numbers an actor that came to a second item within its first hour, for two hours. Seventeen an item
that such an actor came to. Counters are halved once an hour, so a band that came once is
forgotten within that time. When all counters are in use, an unknown band lowers each by one. A band of more than a
ninth of the entries stays. A count is too high only after a collision of six minima. O(6) at each of the first five
items, O(14) at a young actor's third item and later, O(1) for any other act.

**It decides nothing.** No rule, no forest and no score reads it. Reviewers see it as a percentile next to the others.
A rule on it would need four things:

- Its distribution over honest windows of several sites, by size of the window. If a front page offers five stories,
  newcomers read the same five. Comparing with the rest of the site removes this only in part (0.44, above). Attackers
  can raise the site's share with windows no one looks at. So the distribution must be learned from actors that have
  earned trust, or frozen, as a forest's reference is.
- A second sign about the same window (a crowd, a burst).
- Memory of the actors whose own band was met, since the rule must fall on these. Today they are not remembered.
- The honest look-alikes of the benchmark at an unchanged price.
"""

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (
    D_BANDS,
    D_COUNTS,
    D_HALVED_MS,
    I_BANDED1H,
    I_SHARED1H,
    K_FIRST_MS,
    K_MINIMA,
    N_BAND_COUNTERS,
    N_MINIMA,
    ONE,
    FeatureRows,
    Int64s,
)
from recommender.core.features.feature_windows import excess, row_of
from recommender.core.tables.hashing import Key, find, mix
from recommender.core.vocabulary import HOUR_MS

SKETCHED = 5  # items of an actor that enter its sketch
SKETCHED_FROM = 3  # items, below which a sketch is no evidence
LEAST = 8  # entries of a window, below which its `duplicate` is 0


@njit(cache=True)
def sketch(sketches: FeatureRows, actor: Key, left: Key, item: Key, n: int, first_ms: int) -> None:
    """Enter a young actor's new item, its n-th, into its sketch.

    An actor has a sketch from its second item on. Its first item is then `left`, the one it came from.

    first_ms: the time of its first act.
    """
    c = sketches.c[row_of(sketches, actor)]
    is_begun = n > 2 and c[K_FIRST_MS] != 0
    c[K_FIRST_MS] = first_ms
    for k in range(N_MINIMA):
        at = np.uint64(2 * k + 1)
        before = c[K_MINIMA + k] if is_begun else np.int64(mix(left, at))
        c[K_MINIMA + k] = min(before, np.int64(mix(item, at)))


@njit(cache=True)
def enter_band(
    sketches: FeatureRows, bands: FeatureRows, actor: Key, item: Key, w: Int64s, s: Int64s, now_ms: int
) -> None:
    """Enter a young actor's band into the item it came to.

    The actor has SKETCHED_FROM items or more. Both windows' counts are decayed to now.
    """
    row = find(sketches.slots, sketches.keys, actor)
    if row < 0:
        return
    d = bands.c[row_of(bands, item)]
    hours = (now_ms - d[D_HALVED_MS]) // HOUR_MS
    if hours > 0:
        for j in range(N_BAND_COUNTERS):
            d[D_COUNTS + j] >>= min(hours, 62)
        d[D_HALVED_MS] = now_ms
    band = np.uint64(sketches.c[row, K_MINIMA])
    for k in range(1, N_MINIMA):
        band = mix(np.uint64(sketches.c[row, K_MINIMA + k]), band)
    is_shared = _meet_band(d, np.int64(band))  # type: ignore[arg-type]  # an int to Numba
    for c in (w, s):
        c[I_BANDED1H] += ONE
        c[I_SHARED1H] += ONE if is_shared else 0


@njit(cache=True)
def _meet_band(d: Int64s, band: int) -> bool:
    """Count a band in an item's counters, and return True if it was there."""
    free = -1
    for j in range(N_BAND_COUNTERS):
        if d[D_COUNTS + j] == 0:
            free = j
        elif d[D_BANDS + j] == band:
            d[D_COUNTS + j] += 1
            return True
    if free >= 0:
        d[D_BANDS + free], d[D_COUNTS + free] = band, 1
    else:
        for j in range(N_BAND_COUNTERS):
            d[D_COUNTS + j] -= 1
    return False


@njit(cache=True)
def duplicate(w: Int64s, s: Int64s) -> float:
    """Return the share of an item's entries whose band was met there before.

    It is the part beyond the rest of the site's share, in [0, 1].
    """
    if w[I_BANDED1H] < LEAST * ONE:
        return 0.0
    return excess(w[I_SHARED1H], w[I_BANDED1H], s[I_SHARED1H], s[I_BANDED1H])
