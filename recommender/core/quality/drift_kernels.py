"""Compiled loops of the drift detectors. `drift` has their input and the reasons.

State is two small arrays, so that it can be stored and restored bit by bit. All of it is integers except HDDM_A,
which keeps the running means of its paper. These use only additions, divisions and square roots, which IEEE 754
fixes.

No loop here calls one of another file, and none of another file calls one of these.
"""

from math import sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.trend.trend_columns import PLACES, TRUSTED

Int8s = NDArray[np.int8]
Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

ONE = 1 << 16  # a probability of 1, and a unit of log-likelihood
BASE_BITS = 16  # extra bits of precision of the base
LLR_BITS = 10  # cells of the table of log-likelihood ratios
MISS = PLACES + 1  # the place of an item that was not listed
NONE, ALERT, STOP = 0, 1, 2

# Places of the integers.
# I_SEEN, I_N: predictions in all, and since the last start.
# I_BASE, I_SUM: the base, and the CUSUM.
# I_ZERO: the last zero of the CUSUM (ms, the end of the step before).
# I_ALERTED: 1 if an alert was raised since that zero.
# I_HDDM, I_CUSUM: I_SEEN when HDDM_A and CUSUM last fired.
# I_TRUSTED_N, I_TRUSTED_BASE, I_TRUSTED_SUM: the same of trusted actors.
# I_SHARE: the share of predictions for trusted actors.
# I_CHANGED: I_ZERO at the last alarm.
(I_SEEN, I_N, I_BASE, I_SUM, I_ZERO, I_ALERTED, I_HDDM, I_CUSUM, I_TRUSTED_N, I_TRUSTED_BASE, I_TRUSTED_SUM, I_SHARE,
 I_CHANGED, N_INTS) = range(14)  # fmt: skip
# HDDM_A: n and mean of all since the start, n and mean at the cut, whether it has just found a drift.
F_N, F_MEAN, F_CUT_N, F_CUT_MEAN, F_FOUND, N_FLOATS = range(6)
# Places of the rules, see DriftConfig.
R_ALERT, R_STOP, R_WINDOW, R_WARM, R_MEMORY, R_TRUSTED_SUM, R_TRUSTED_SHARE, R_STEADY, N_RULES = range(9)
LEAST, MOST = ONE // 50, ONE * 9 // 10  # an expected miss rate nearer to 0 or 1 leaves no room for a rise
NEVER = -(1 << 60)


@njit(cache=True)
def hddm_a(state: Float64s, value: float, log_cut: float, log_drift: float) -> bool:
    """Add one value and return True if the mean has risen since the cut.

    This is HDDM_A, one-sided: Frias-Blanco et al., *Online and Non-Parametric Drift Detection Methods Based on
    Hoeffding's Bounds* (IEEE TKDE 27(3), 2015). Each value must lie in an interval of length 1, which may differ from
    value to value. Step by step this is the arithmetic of River's `HDDMA`.
    log_cut = ln(1/confidence), log_drift = ln(2/confidence).
    """
    if state[F_FOUND]:
        state[:] = 0.0
    state[F_N] += 1.0
    state[F_MEAN] += (1.0 / state[F_N]) * (value - state[F_MEAN])
    if state[F_CUT_N] == 0.0:
        state[F_CUT_N], state[F_CUT_MEAN] = state[F_N], state[F_MEAN]
    bound = sqrt(1.0 / (2.0 * state[F_N]) * log_cut)
    cut_bound = sqrt(1.0 / (2.0 * state[F_CUT_N]) * log_cut)
    if state[F_CUT_MEAN] + cut_bound >= state[F_MEAN] + bound:
        state[F_CUT_N], state[F_CUT_MEAN] = state[F_N], state[F_MEAN]
    if state[F_CUT_N] != state[F_N]:
        m = (state[F_N] - state[F_CUT_N]) / state[F_CUT_N] * (1.0 / state[F_N])
        if state[F_MEAN] - state[F_CUT_MEAN] >= sqrt(m / 2.0 * log_drift):
            state[F_FOUND] = 1.0
    return bool(state[F_FOUND] != 0.0)


@njit(cache=True)
def hddm_a_alarms(values: Float64s, log_cut: float, log_drift: float) -> Int64s:
    """Return the positions where HDDM_A finds a drift, starting again after each."""
    state, found, n = np.zeros(N_FLOATS), np.empty(values.size, np.int64), 0
    for i in range(values.size):
        if hddm_a(state, values[i], log_cut, log_drift):
            found[n] = i
            n += 1
    return found[:n]


@njit(cache=True)
def _clipped(probability: int) -> int:
    return min(MOST, max(LEAST, probability))


@njit(cache=True)
def watch(
    ranks: Int8s,
    expected: int,
    before_ms: int,
    ints: Int64s,
    floats: Float64s,
    rules: Int64s,
    ratios: Int64s,
    log_cut: float,
    log_drift: float,
) -> int:
    """Learn the predictions of a step and return the level raised.

    After a STOP the detectors start again with the next prediction.

    ranks: (n, 4), as of `trend_kernels.fold`.
    expected: the part of a miss that the board makes expected for all of them, in ONE.
    before_ms: stream time when the step before ended.
    """
    raised = NONE
    for i in range(ranks.shape[0]):
        if ranks[i, 0] == 0:
            continue
        miss = 1 if ranks[i, 0] == MISS else 0
        by_board = expected + (rules[R_STEADY] if ranks[i, 2] == MISS else 0)
        residual = (miss * ONE - by_board) << BASE_BITS
        is_trusted = ranks[i, 3] == TRUSTED
        ints[I_SEEN] += 1
        ints[I_N] += 1

        if is_trusted:
            ints[I_TRUSTED_N] += 1
            if ints[I_TRUSTED_N] > rules[R_WARM] // 8:
                p = _clipped(by_board + (ints[I_TRUSTED_BASE] >> BASE_BITS))
                total = ints[I_TRUSTED_SUM] + ratios[p >> (16 - LLR_BITS), miss]
                ints[I_TRUSTED_SUM] = min(max(0, total), 2 * rules[R_STOP])
            n = min(ints[I_TRUSTED_N], rules[R_MEMORY] // 4)
            ints[I_TRUSTED_BASE] += (residual - ints[I_TRUSTED_BASE]) // n
        n = min(ints[I_N], rules[R_MEMORY])
        ints[I_SHARE] += (((ONE << BASE_BITS) if is_trusted else 0) - ints[I_SHARE]) // n

        if ints[I_N] > rules[R_WARM]:
            p = _clipped(by_board + (ints[I_BASE] >> BASE_BITS))
            total = ints[I_SUM] + ratios[p >> (16 - LLR_BITS), miss]
            ints[I_SUM] = min(max(0, total), 2 * rules[R_STOP])
            if total <= 0:
                ints[I_ZERO], ints[I_ALERTED] = before_ms, 0
            if hddm_a(floats, miss - p / ONE, log_cut, log_drift):
                ints[I_HDDM] = ints[I_SEEN]
            if ints[I_SUM] > rules[R_STOP]:
                ints[I_CUSUM] = ints[I_SEEN]
            if ints[I_SUM] > rules[R_ALERT] and not ints[I_ALERTED]:
                ints[I_ALERTED] = 1
                if raised == NONE:
                    raised, ints[I_CHANGED] = ALERT, ints[I_ZERO]
            is_pair = ints[I_SEEN] - min(ints[I_HDDM], ints[I_CUSUM]) < rules[R_WINDOW]
            has_trusted = (ints[I_SHARE] >> BASE_BITS) >= rules[R_TRUSTED_SHARE]
            if is_pair and (not has_trusted or ints[I_TRUSTED_SUM] > rules[R_TRUSTED_SUM]):
                raised, ints[I_CHANGED] = STOP, ints[I_ZERO]
                restart(ints, floats)
        else:
            ints[I_ZERO] = before_ms
        ints[I_BASE] += (residual - ints[I_BASE]) // n
    return raised


@njit(cache=True)
def restart(ints: Int64s, floats: Float64s) -> None:
    """Clear all findings and learn the base again, so that the level now is normal."""
    floats[:] = 0.0
    ints[I_N] = ints[I_SUM] = ints[I_ALERTED] = ints[I_TRUSTED_N] = ints[I_TRUSTED_SUM] = 0
    ints[I_HDDM] = ints[I_CUSUM] = NEVER
