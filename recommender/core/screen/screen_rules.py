"""Rules of the screen: from flags to verdicts, reasons and cleared events.

    flags (feature_kernels) ─────┐
    windows that forests flag ───┴──> admit | hold | quarantine; reasons; cleared = forests may learn from it

An exposed event (lockstep, cohort, flood, shunned) is quarantined in any window. Any other event needs an anomalous
window. It is then quarantined on evidence against the actor, held if the actor is a newcomer, and admitted otherwise.
If only a forest finds the window anomalous, a newcomer is held on one more condition. The window must lean to
newcomers, or to a network, by more than an honest story does. If a crowd has been seen to read on, only a sample of
it is held.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.features import feature_columns as fk
from recommender.core.vocabulary import HOLD, QUARANTINE

BY_ACTOR, BY_ITEM, BY_NETWORK = 1, 2, 4  # bits of the forests that find an event strange
EXPOSED = fk.IS_LOCKSTEP | fk.IS_COHORT | fk.IS_FLOOD | fk.IS_SHUNNED
CROWDED = fk.IS_CROWD | fk.IS_NETWORK


@njit(cache=True)
def decide(
    flags: NDArray[np.int32],
    strange: NDArray[np.uint8],
    names: NDArray[np.int32],
    verdict: NDArray[np.int8],
    reason: NDArray[np.int32],
    is_cleared: NDArray[np.uint8],
) -> int:
    """Write verdicts, reasons and cleared rows of the events with a TO_DECIDE flag.

    Returns the number of events that show lockstep.

    strange: bits of BY_*.
    names: int32 (64,), the reason of each flag by its bit, or of each BY_* by 32 + its bit.
    """
    n_exposed = 0
    for i in range(flags.size):
        flag = flags[i]
        if not flag & fk.TO_DECIDE:
            continue
        n_exposed += (flag & fk.IS_LOCKSTEP) != 0
        for bit in range(32):
            if flag >> bit & 1 and (1 << bit != fk.IS_REGULAR or flag & fk.IS_ACTIVE):
                reason[i] |= names[bit]
        for bit in range(3):
            if strange[i] >> bit & 1:
                reason[i] |= names[32 + bit]
        is_strange = strange[i] & (BY_ITEM | BY_NETWORK) != 0
        is_crowd = flag & fk.IS_ACTIVE != 0 and flag & CROWDED != 0
        is_anomalous = is_strange or is_crowd
        is_to_wait = is_crowd or (is_strange and flag & fk.IS_LEANING != 0)
        is_exposed = flag & EXPOSED != 0
        is_odd_actor = flag & fk.IS_REGULAR != 0 or strange[i] & BY_ACTOR != 0
        if is_exposed or (is_anomalous and is_odd_actor):
            verdict[i] = QUARANTINE
        elif is_to_wait and flag & fk.IS_NOVEL != 0 and flag & fk.IS_BELIEVED == 0:
            verdict[i] = HOLD
        is_cleared[i] = flag & fk.IS_ASKED != 0 and not is_exposed and flag & CROWDED == 0
    return n_exposed
