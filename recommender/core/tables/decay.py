"""Decayed counts in integers.

A unit made at tick t weighs 2**(t/4096), from a table made by integer arithmetic. A sum of integers does not depend
on the order of its terms. A term can be subtracted again exactly, and the sum is the same on every machine.

Time is counted in ticks of 1/4096 of a half-life. Eight half-lives make an epoch. Counts are kept for three epochs.
"""

from math import frexp, isqrt

import numpy as np
from numba import njit

from recommender.core.tables.hashing import Int64s

TICKS = 4096  # per half-life
TICK_BITS = 12
POW_BITS = 16  # a unit's weight at the start of a half-life is 2**16 ...
EPOCH_OCTAVES = 8  # ... and 2**24 at the end of an epoch
N_EPOCHS = 3
_ROOT_HALF, _TWO_OVER_LN2, _LOG_TERMS = 0.7071067811865476, 2.8853900817779268, 8
MAX_DECAY_OCTAVES = 40  # beyond this nothing is left of a budget's spending


def _powers_of_two() -> Int64s:
    """Return round(2**(POW_BITS + i/TICKS)) for i in 0..TICKS.

    It uses integer arithmetic alone.
    """
    bits = 200
    step = 2 << bits
    for _ in range(TICK_BITS):
        step = isqrt(step << bits)
    powers, value = [], 1 << bits
    for _ in range(TICKS + 1):
        powers.append(((value << POW_BITS + 1) >> bits) + 1 >> 1)
        value = value * step >> bits
    return np.array(powers, np.int64)


POW = _powers_of_two()


@njit(cache=True)
def log2(x: float) -> float:
    """Return the logarithm to the base 2 of a positive number, to 1e-13.

    It uses sums, products and quotients alone, so it is the same on every machine. The C library's logarithm is not.
    """
    mantissa, exponent = frexp(x)
    if mantissa < _ROOT_HALF:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    t = (mantissa - 1.0) / (mantissa + 1.0)
    square, total = t * t, 0.0
    for k in range(_LOG_TERMS, -1, -1):
        total = total * square + 1.0 / (2 * k + 1)
    return exponent + _TWO_OVER_LN2 * t * total


@njit(cache=True)
def combined(counts: Int64s, row: int, half: int, epoch: int) -> int:
    """Return a row's count on the scale of the current epoch.

    Counts of older epochs are shifted down.
    """
    return (
        counts[row, half, epoch % N_EPOCHS]
        + (counts[row, half, (epoch - 1) % N_EPOCHS] >> EPOCH_OCTAVES)
        + (counts[row, half, (epoch - 2) % N_EPOCHS] >> (2 * EPOCH_OCTAVES))
    )


@njit(cache=True)
def combine_all(counts: Int64s, n: int, half: int, epoch: int) -> Int64s:
    """Return `combined` of the first n rows, int64 (n,)."""
    scores = np.empty(n, np.int64)
    for row in range(n):
        scores[row] = combined(counts, row, half, epoch)
    return scores


@njit(cache=True)
def decayed(amount: int, ticks: int) -> int:
    """Return an amount after so many ticks of its half-life, rounded down."""
    octaves = ticks >> TICK_BITS
    if octaves > MAX_DECAY_OCTAVES:
        return 0
    return (amount * POW[TICKS - (ticks & (TICKS - 1))] >> (POW_BITS + 1)) >> octaves
