"""Convert the trend's state of earlier versions.

    b6685f3: weights of pairs in 32 bits, a removed one as -2**30 ──> 16 bits, a removed one as RETRACTED

The columns of actors are narrower too. Their values fit, because the configuration bounds them, and the table checks
it.
"""

from typing import Any

import numpy as np

from recommender.core.state_versions import migration
from recommender.core.trend.trend_columns import RETRACTED

_RETRACTED_THEN = -(1 << 30)
State = dict[str, Any]


@migration("trend", to=2)
def narrow_trend(state: State) -> State:
    """Return the trend's state in the layout of this version.

    A state of this version is returned as it is. The arrays that need no change are the same objects.
    """
    pairs = state["pairs"]
    weight = pairs["weight"]
    if weight.dtype == np.int16:
        return state
    is_retracted = weight == _RETRACTED_THEN
    return {**state, "pairs": {**pairs, "weight": np.where(is_retracted, RETRACTED, weight)}}
