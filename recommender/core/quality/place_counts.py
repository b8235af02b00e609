"""Compiled counts of answers by list and place."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int8s = NDArray[np.int8]
Int64s = NDArray[np.int64]


@njit(cache=True)
def tally(ranks: Int8s, total: Int64s, window: Int64s, counts: Int64s) -> None:
    """Add answers, int8 (n, lists + 1), to all three counts by list and place.

    The counts are int64 (populations, lists, places). Each answer counts for all actors. It also counts for the
    population that the last column names, if any. An answer of 0 means that nothing was asked, and it is not counted.
    """
    who = ranks.shape[1] - 1
    for i in range(ranks.shape[0]):
        population = ranks[i, who]
        for at in range(who):
            place = ranks[i, at]
            if place:
                total[0, at, place] += 1
                window[0, at, place] += 1
                counts[0, at, place] += 1
                if population:
                    total[population, at, place] += 1
                    window[population, at, place] += 1
                    counts[population, at, place] += 1
