"""Search a state for the keys of one actor.

    Pipeline.state() ──> every array of 64-bit integers ──> how often the actor's keys occur

A state holds an actor under its own key, and under keys mixed from its key and an item's. A mixed key does not reveal
its two parts. So the keys of the actor's pairs are made anew from the items that the state knows.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.tables.hashing import pair_keys


def count(state: dict[str, Any], actor: int) -> int:
    """Count how often an actor occurs in the arrays of a state.

    state: as `Pipeline.state()` returns it.

    Columns and tables of items are left out, so that an item with the same id is no trace. 10 ns an entry.
    """
    items = [array.view(np.uint64).ravel() for path, array in _arrays(state) if _is_of_items(path)]
    known = np.unique(np.concatenate(items)) if items else np.empty(0, np.uint64)
    wanted = np.unique(np.append(pair_keys(np.uint64(actor), known), np.uint64(actor)))
    found = 0
    for path, array in _arrays(state):
        if not _is_of_items(path):
            values = array.view(np.uint64).ravel()
            places = np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)
            found += int(np.count_nonzero(wanted[places] == values))
    return found


def _arrays(state: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], NDArray[Any]]]:
    """Yield the arrays of 64-bit integers, each with its names from the outside in."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _arrays(value, (*path, name))
        elif isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.dtype.itemsize == 8:
            yield (*path, name), np.ascontiguousarray(value)


def _is_of_items(path: tuple[str, ...]) -> bool:
    return path[-1] in {"item", "source", "target"} or path[-2:] in {
        ("items", "keys"),
        ("sources", "keys"),
        ("bands", "keys"),
    }
