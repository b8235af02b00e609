"""Convert the features' state of earlier versions.

    b6685f3: one wide matrix for actors, pairs and items ──> narrow columns, and tables for what few rows need

The result is what this version would have learned, with one exception. Links of that version do not tell which of
them matter for good. So all of them are kept until the table is full.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.features import feature_columns as fk
from recommender.core.state_versions import migration

# places of that version's columns, in the order of this version's
_ACTOR = (0, 1, 2, 3, 4, 5, 8, 9, 14)
_COUNTS = (6, 7, 10, 11)
_MEMBER = (12, 13, 15, *range(16, 22))
_MINIMA = slice(22, 28)
_OLD_ACTOR = 28
_ITEM = (*range(15), 17, 18, 19, 20, 21, 24, 25, 26, 27, 28, 29, 33, 34, 35)
_SITE = (*_ITEM, 15, 16, 22, 23, 30, 31, 32)
_BANDS = (36, *range(37, 45), *range(45, 53))
_OLD_ITEM = 53
State = dict[str, Any]


@migration("screen/features", to=2)
def split_features(state: State) -> State:
    """Return the features' state in the layout of this version.

    A state of this version is returned as it is. The arrays that need no change are the same objects.
    """
    if "members" in state:
        return state
    actors, members, sketches = _actors(state["actors"])
    items, bands = _items(state["items"])
    return {
        **state,
        "actors": actors,
        "members": members,
        "sketches": sketches,
        "pairs": _pairs(state["pairs"]),
        "items": items,
        "bands": bands,
        "site": np.ascontiguousarray(state["site"][:, _SITE]),
        "swept_hour": -1,
    }


def _actors(old: State) -> tuple[State, State, State]:
    keys, c = old["keys"], old["c"]
    if c.shape[1] != _OLD_ACTOR:
        raise ValueError("the state is from another version of the features")
    counts = c[:, _COUNTS].copy()
    counts[:, fk.C_GAPS] = np.minimum(counts[:, fk.C_GAPS], fk.GAPS_COUNTED)
    member = c[:, _MEMBER]
    is_member = member.any(axis=1)
    last_ms = int(c[:, 0].max()) if len(c) else 0
    is_sketched = (counts[:, fk.C_ITEMS] >= 2) & c[:, _MINIMA].any(axis=1) & (c[:, 1] > last_ms - 2 * fk.YOUNG_MS)
    sketch = np.column_stack([c[is_sketched, 1], c[is_sketched, _MINIMA]])
    return (
        {"keys": keys, "c": np.ascontiguousarray(c[:, _ACTOR]), "counts": _narrowed(counts, np.int32)},
        {"keys": keys[is_member], "c": np.ascontiguousarray(member[is_member])},
        {"keys": keys[is_sketched], "c": np.ascontiguousarray(sketch)},
    )


def _pairs(old: State) -> State:
    last_ms, n, first = old["c"].T
    return {
        "keys": old["keys"],
        "last_ms": last_ms.copy(),
        "n": _narrowed(n, np.int32),
        "mark": np.minimum(first, 0).astype(np.int8),
    }


def _items(old: State) -> tuple[State, State]:
    keys, c = old["keys"], old["c"]
    if c.shape[1] != _OLD_ITEM:
        raise ValueError("the state is from another version of the features")
    bands = c[:, _BANDS]
    has_bands = bands.any(axis=1)
    return (
        {"keys": keys, "c": np.ascontiguousarray(c[:, _ITEM])},
        {"keys": keys[has_bands], "c": np.ascontiguousarray(bands[has_bands])},
    )


def _narrowed(values: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """Return values in a narrower type, the larger ones as its largest."""
    limits = np.iinfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)
