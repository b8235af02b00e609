"""Convert affinity's state of earlier versions.

    b6685f3: all nine places of a history in one row ──> SHORT places in its row, the others in another table

The ninth place was used only while a unit was put in.
"""

from typing import Any

import numpy as np

from recommender.core.affinity.affinity_columns import HISTORY, SHORT
from recommender.core.state_versions import migration

State = dict[str, Any]


@migration("affinity", to=2)
def split_histories(state: State) -> State:
    """Return affinity's state in the layout of this version.

    A state of this version is returned as it is. The arrays that need no change are the same objects.
    """
    if "longer" in state:
        return state
    old = state["histories"]
    columns = ("item", "at_ms", "weight")
    is_longer = old["length"] > SHORT
    is_used = np.arange(HISTORY) < old["length"][:, None]
    kept = {name: np.where(is_used, old[name][:, :HISTORY], 0).astype(old[name].dtype) for name in columns}
    return {
        **state,
        "histories": {**old, **{name: np.ascontiguousarray(kept[name][:, :SHORT]) for name in columns}},
        "longer": {
            "keys": old["keys"][is_longer],
            **{name: np.ascontiguousarray(kept[name][is_longer, SHORT:]) for name in columns},
        },
    }
