"""Where an actor stands in a state: under its key, and under keys mixed of its and an item's.

    Pipeline.state() ──> every array of 64-bit integers ──> how often the actor's keys occur

An actor's pairs are found from the items the state knows, since a mixed key does not tell what it was mixed of.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.tables.hashing import pair_keys


def count(state: dict[str, Any], actor: int) -> int:
    """Occurrences of an actor in the arrays of a state, as `Pipeline.state()` gives it; columns and tables of items
    left out, so that an item of the same id is no trace. 10 ns an entry."""
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
    """Arrays of 64-bit integers, with their names from the outside in."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _arrays(value, (*path, name))
        elif isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.dtype.itemsize == 8:
            yield (*path, name), np.ascontiguousarray(value)


def _is_of_items(path: tuple[str, ...]) -> bool:
    return path[-1] in {"item", "source", "target"} or path[-2:] in {("items", "keys"), ("sources", "keys")}
