"""The score of an event: one number in [0, 1] to sort a list by, high = suspicious. Verdicts do not depend on it."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core import feature_kernels as fk

WEIGHTS = np.zeros(fk.N_FEATURES)
WEIGHTS[: fk.SHALLOW + 1] = 0.5 / 6
WEIGHTS[fk.SHALLOW + 1 :] = 0.5 / 10


@njit(cache=True)
def scores(features: NDArray[np.float64], verdict: NDArray[np.int8], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 (n,): the weighted sum of the features, and a quarter for each degree of the verdict."""
    out = np.empty(features.shape[0], np.float32)
    for i in range(features.shape[0]):
        total = 0.0
        for column in range(features.shape[1]):
            total += features[i, column] * weights[column]
        out[i] = min(total / 2.0 + verdict[i] / 4.0, 1.0)
    return out
