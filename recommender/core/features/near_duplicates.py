"""Near-duplicate sessions: do an item's young clickers read what others of them read, one for one? Compiled; called
by feature_kernels.observe.

    first five items of a young actor ──> six minima (MinHash, in its row) ──three items──> one band of all six
                                                                                              │ each time it comes
                                                                                              v to an item
    the item's last bands, eight counters (Misra-Gries) ── met before? ──> I_SHARED1H of I_BANDED1H
                                           the same of the rest of the site ──> in excess? ──> `duplicate` in [0, 1]

A replayed visit has human pauses, human order and new accounts; what it cannot change without changing what it is, is
which items it holds (MinHash: Broder, SEQUENCES 1997). Two sets of which a share J of all their items is common have
the band in common with probability J**6: 1 for the same items in any order, 0.09 for four of five and another, so
replacing one item is the price of passing. Two bands of three minima would ask for two (0.51, 0.16), but find what
honest newcomers do: on the first 300,000 rows of a news log 13.7 % of events met a window beyond 0.25, and one in a
hundred a window beyond 0.60. One band of six: 3.6 % and 0.34, at most 0.44, of the first 200,000 rows; from five
items on instead of three at most 0.13. The hashes are of items' keys, which are keyed with the deployment's secret:
nobody outside can make sets that collide.

**Known.** A young actor is within an hour of its first act. Below three items it has no band: it is not entered, and
speaks neither for nor against its item. So a target spliced in first or second is not seen from that session; at its
third to fifth item the band is of the items so far, the target's among them, from the sixth on that of the first
five. Fewer than LEAST entries in a window, and its `duplicate` is 0.

**Bounded.** Six numbers an actor, nineteen an item. Counters are halved once an hour, so what came once is forgotten
within that; when all are taken, an unknown band takes one off each. A band of more than a ninth of the entries stays,
and what is counted is never too high but by a collision of six minima. O(6) at each of the first five items, O(14)
at a young actor's third item and later, O(1) for any other act.

**It decides nothing.** No rule, no forest and no score reads it: it is a percentile beside the others for reviewers.
A rule on it would need, first, its distribution over honest windows of several sites, by size of the window: where a
front page offers five stories, newcomers read the same five, which the comparison with the rest of the site takes
back only in part (0.44, above). Attackers can lift the site's share with windows nobody looks at, so that would have
to be learned from actors that have earned trust, or frozen, as a forest's reference is. It would need a second sign
about the same window (a crowd, a burst), and to fall on those whose own band was met, who are not remembered one by
one today. And it would need the honest look-alikes of the benchmark at an unchanged price.
"""

import numpy as np
from numba import njit

from recommender.core.features.feature_columns import (  # fmt: skip
    A_ITEMS,
    A_MINIMA,
    I_BAND_COUNTS,
    I_BANDED1H,
    I_BANDS,
    I_BANDS_MS,
    I_SHARED1H,
    N_BAND_COUNTERS,
    N_MINIMA,
    ONE,
    Int64s,
)
from recommender.core.features.feature_windows import excess
from recommender.core.tables.hashing import Key, mix
from recommender.core.vocabulary import HOUR_MS

SKETCHED = 5  # items of an actor
SKETCHED_FROM = 3  # items, below which a sketch says nothing
LEAST = 8  # entries of a window


@njit(cache=True)
def sketch(a: Int64s, item: Key) -> None:
    """Enter a young actor's new item, the A_ITEMS-th, into its row."""
    n = a[A_ITEMS]
    if n > SKETCHED:
        return
    for k in range(N_MINIMA):
        value = np.int64(mix(item, np.uint64(2 * k + 1)))
        if n == 1 or value < a[A_MINIMA + k]:
            a[A_MINIMA + k] = value


@njit(cache=True)
def enter_band(a: Int64s, w: Int64s, s: Int64s, now_ms: int) -> None:
    """Enter a young actor's band into the item it came to; both windows' counts are of now."""
    if a[A_ITEMS] < SKETCHED_FROM:
        return
    hours = (now_ms - w[I_BANDS_MS]) // HOUR_MS
    if hours > 0:
        for j in range(N_BAND_COUNTERS):
            w[I_BAND_COUNTS + j] >>= min(hours, 62)
        w[I_BANDS_MS] = now_ms
    band = np.uint64(a[A_MINIMA])
    for k in range(1, N_MINIMA):
        band = mix(np.uint64(a[A_MINIMA + k]), band)
    is_shared = _meet_band(w, np.int64(band))  # type: ignore[arg-type]  # an int to Numba
    for c in (w, s):
        c[I_BANDED1H] += ONE
        c[I_SHARED1H] += ONE if is_shared else 0


@njit(cache=True)
def _meet_band(w: Int64s, band: int) -> bool:
    """Count a band in an item's counters; was it there?"""
    free = -1
    for j in range(N_BAND_COUNTERS):
        if w[I_BAND_COUNTS + j] == 0:
            free = j
        elif w[I_BANDS + j] == band:
            w[I_BAND_COUNTS + j] += 1
            return True
    if free >= 0:
        w[I_BANDS + free], w[I_BAND_COUNTS + free] = band, 1
    else:
        for j in range(N_BAND_COUNTERS):
            w[I_BAND_COUNTS + j] -= 1
    return False


@njit(cache=True)
def duplicate(w: Int64s, s: Int64s) -> float:
    """Of an item's entries the share whose band was met there before, beyond the rest of the site's, in [0, 1]."""
    if w[I_BANDED1H] < LEAST * ONE:
        return 0.0
    return excess(w[I_SHARED1H], w[I_BANDED1H], s[I_SHARED1H], s[I_BANDED1H])
