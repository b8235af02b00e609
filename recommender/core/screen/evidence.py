"""Evidence behind a verdict: an event compared with cleared traffic.

It is shown to reviewers.

    features of events not admitted ──> percentiles: the share of cleared rows (Reservoir) below each value
                                   └──> p-values of the forests that were asked, and the threshold then in force

Cleared rows come from active windows, and no rule spoke against them. So an event is compared with others in a crowd,
not with the quiet rest of the site. No evidence is computed for admitted events. Evidence is no part of the state,
while the reservoir and the forests are. An event that was admitted and retracted later has none, since its features
are not kept.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.features import feature_columns as fk
from recommender.core.screen.forest_refits import ENTITIES, Forests

UNKNOWN = 255
MANY = 64  # from this many rows on it pays to sort the cleared ones
MIN_CLEARED = 100  # with fewer cleared rows a percentile means nothing
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence of m events of a batch.

    rows: their places in the batch, int64 (m,), ascending.
    percentiles: uint8 (m, N_FEATURES), 0 to 100 in the order of `feature_columns.FEATURES`, or UNKNOWN.
    p_values: float32 (m, 3) by the forests of actor, item and network, NaN where one was not asked.
    alpha: the p-value at which a forest flags.
    """

    rows: NDArray[np.int64]
    percentiles: NDArray[np.uint8]
    p_values: NDArray[np.float32]
    alpha: float


NO_EVIDENCE = Evidence(
    np.empty(0, np.int64), np.empty((0, fk.N_FEATURES), np.uint8), np.empty((0, 3), np.float32), 0.0
)


def gather(
    batch: EventBatch, rows: NDArray[np.int64], features: Floats, flags: NDArray[np.int32], forests: Forests
) -> Evidence:
    """Return the evidence behind the verdicts on those rows of a batch."""
    chosen = features[rows]
    percentiles = percentiles_of(forests.reservoir.filled(), chosen)
    percentiles[np.ix_(batch.prefix[rows] == 0, (fk.PREFIX, fk.NEW_PREFIX))] = UNKNOWN
    percentiles[batch.agent[rows] == 0, fk.AGENT] = UNKNOWN
    p_values = np.full((len(rows), len(ENTITIES)), np.nan, np.float32)
    is_asked = (flags[rows] & fk.IS_ASKED) != 0
    if np.count_nonzero(is_asked):
        p_values[is_asked] = forests.p_values(chosen[is_asked])
    return Evidence(rows, percentiles, p_values, forests.alpha)


def percentiles_of(cleared: NDArray[np.float32], rows: Floats) -> NDArray[np.uint8]:
    """Return the percent of cleared values below each value, uint8 (m, d).

    It is rounded down, and 100 only if all cleared values are below. Values are rounded as the cleared ones were.
    """
    n = len(cleared)
    if n < MIN_CLEARED:
        return np.full(rows.shape, UNKNOWN, np.uint8)
    values = rows.astype(np.float32)
    if len(rows) < MANY:
        below = count_below(cleared, values)
    else:
        columns = zip(np.sort(cleared, axis=0).T, values.T, strict=True)
        below = np.stack([np.searchsorted(ordered, column) for ordered, column in columns], axis=1)
    return np.asarray(100 * below // n, np.uint8)


@njit(cache=True)
def count_below(cleared: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the number of cleared values below each value, (m, d)."""
    below = np.zeros(values.shape, np.int64)
    for i in range(values.shape[0]):
        for k in range(cleared.shape[0]):
            for column in range(values.shape[1]):
                below[i, column] += cleared[k, column] < values[i, column]
    return below
