"""The evidence behind a verdict: where an event stands among cleared traffic, feature by feature, for its reviewer.

    features of what is not admitted ──> percentiles: the share of cleared rows (Reservoir) below each value
                                    └──> p-values of the forests that were asked, and the threshold then in force

Cleared are rows of active windows that no rule spoke against: an event is compared with others in a crowd, not with
the quiet rest of the site. Nothing is computed for what is admitted, and nothing of it is state: the reservoir and the forests are. What is
admitted and taken back out later has none, since its features are not kept.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core import feature_kernels as fk
from recommender.core.events import EventBatch
from recommender.core.forests import ENTITIES, Forests

UNKNOWN = 255
MIN_CLEARED = 100  # rows, below which a percentile says nothing
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of m events of a batch. rows: their places in it, int64 (m,), ascending. percentiles: uint8 (m, N_FEATURES),
    0 to 100 in the order of `feature_kernels.FEATURES`, or UNKNOWN. p_values: float32 (m, 3) by the forests of actor,
    item and network, NaN where one was not asked. alpha: the p-value at which a forest flags."""

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
    """The evidence behind the verdicts on those rows of a batch. 40 us, and 20 us a row."""
    chosen = features[rows]
    percentiles = percentiles_of(forests.reservoir.filled(), chosen)
    percentiles[np.ix_(batch.prefix[rows] == 0, (fk.PREFIX, fk.NEW_PREFIX))] = UNKNOWN
    percentiles[batch.agent[rows] == 0, fk.AGENT] = UNKNOWN
    p_values = np.full((len(rows), len(ENTITIES)), np.nan, np.float32)
    is_asked = (flags[rows] & fk.IS_ASKED) != 0
    if np.count_nonzero(is_asked):
        p_values[is_asked] = forests.p_values(chosen[is_asked])
    return Evidence(rows, percentiles, p_values, forests.alpha)


@njit(cache=True)
def percentiles_of(cleared: NDArray[np.float32], rows: Floats) -> NDArray[np.uint8]:
    """The percent of cleared values below each value, rounded down, uint8 (m, d); 100 only where all are below.

    20 us a row for 3,072 cleared ones. Values are rounded as the cleared ones were."""
    out = np.full(rows.shape, UNKNOWN, np.uint8)
    n = cleared.shape[0]
    if n < MIN_CLEARED:
        return out
    below = np.empty(rows.shape[1], np.int64)
    for i in range(rows.shape[0]):
        values = rows[i].astype(np.float32)
        below[:] = 0
        for k in range(n):
            for column in range(values.size):
                below[column] += cleared[k, column] < values[column]
        for column in range(values.size):
            out[i, column] = 100 * below[column] // n
    return out
