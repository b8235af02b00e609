"""Rows keyed by 64-bit hashes.

A table has a dense array for each column, and slots that the kernels probe to find a key's row. Rows are appended in
the order in which keys first come, and a checkpoint keeps this order. The slots are derived and never stored. Only
`keep` removes rows, all at once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.tables.hashing import fill_slots

Columns = dict[str, NDArray[Any]]


class Table:
    """A table of rows with typed columns.

    columns: each column's type and the shape of one row's entry: {"at_ms": (np.int64, ())}.
    derived: names of columns that are not part of the state. Their owner makes them anew.

    >>> table = Table({"spent": (np.int64, ())})
    >>> table.reserve(10), len(table)
    (True, 0)
    """

    def __init__(self, columns: dict[str, tuple[Any, tuple[int, ...]]], derived: tuple[str, ...] = ()) -> None:
        self._stored = {name: shape for name, (_, shape) in columns.items() if name not in derived}
        self.size = np.zeros(1, np.int64)  # an array, so that kernels can add rows
        self.keys = np.empty(0, np.uint64)
        self.slots = np.full(2, -1, np.int32)
        self.data: Columns = {name: np.zeros((0, *shape), dtype) for name, (dtype, shape) in columns.items()}

    def __len__(self) -> int:
        return int(self.size[0])

    def __getitem__(self, column: str) -> NDArray[Any]:
        """Return the rows of a column, as a view."""
        return self.data[column][: len(self)]

    def reserve(self, n_more: int) -> bool:
        """Make room for n more rows, and return True if the arrays are new ones.

        The room doubles, so the amortised cost is O(1) a row.
        """
        needed = len(self) + n_more
        if needed <= len(self.keys):
            return False
        capacity = 1 << max(8, (needed - 1).bit_length())
        self.keys = _grown(self.keys, capacity)
        self.data = {name: _grown(column, capacity) for name, column in self.data.items()}
        self.slots = np.full(2 * capacity, -1, np.int32)
        fill_slots(self.slots, self.keys, len(self))
        return True

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Drop all rows except these (ascending)."""
        n = len(rows)
        self.keys[:n] = self.keys[rows]
        for column in self.data.values():
            column[:n] = column[rows]
        self.size[0] = n
        self.slots.fill(-1)
        fill_slots(self.slots, self.keys, n)

    def state(self) -> Columns:
        """Return the rows, as copies."""
        return {"keys": self.keys[: len(self)].copy()} | {name: self[name].copy() for name in self._stored}

    def restore(self, state: Columns) -> None:
        """Take the rows of `state()`.

        Raises ValueError if columns do not fit.
        """
        n = len(state["keys"])
        if len(np.unique(state["keys"])) != n:
            raise ValueError("the state holds a key twice")
        self.size[0] = 0
        self.reserve(n)
        self.keys[:n] = state["keys"]
        for name, shape in self._stored.items():
            if state[name].shape != (n, *shape):
                raise ValueError(f"column {name} has shape {state[name].shape}, not {(n, *shape)}")
            self.data[name][:n] = state[name]
        self.size[0] = n
        self.slots.fill(-1)
        fill_slots(self.slots, self.keys, n)


def strongest(values: NDArray[np.int64], keys: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """Return the rows of the n largest values, in ascending order.

    Ties go to the smaller key.
    """
    if len(values) <= n:
        return np.arange(len(values))
    # values that tie with the n-th are sorted by key, and the others need no order
    threshold = np.partition(values, len(values) - n)[len(values) - n]
    above = np.flatnonzero(values > threshold)
    ties = np.flatnonzero(values == threshold)
    ties = ties[np.argsort(keys[ties], kind="stable")][: n - len(above)]
    return np.sort(np.concatenate([above, ties]))


def _grown(column: NDArray[Any], capacity: int) -> NDArray[Any]:
    grown = np.zeros((capacity, *column.shape[1:]), column.dtype)
    grown[: len(column)] = column
    return grown
