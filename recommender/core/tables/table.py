"""Rows keyed by 64-bit hashes.

A table has a dense array for each column, and slots that the kernels probe to find a key's row. Rows are appended in
the order in which keys first come, and a checkpoint keeps this order. So most pieces of a checkpoint are those of the
one before. The slots are derived and never stored. Only `keep` removes rows, all at once.

**Memory.** Rows that were never used take no memory, because the system gives a page only when it is first written
(`core.memory`). So arrays double. They grow one column after the other, and old slots are freed before new
ones are made. So a table that grows needs room for one column more, not for a second table. Rows that are dropped
give their pages back. Slots are at most 65 % full, which is 6 to 10 bytes a row.

**Narrow columns.** A column may be narrower than in a state that an earlier version wrote. `restore` converts it, and
refuses a value that does not fit. A caller that knows better (a mark, a count with a limit) converts the column
first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.memory import MAPPED_FROM, release, zeros
from recommender.core.tables.hashing import EMPTY, MAX_ROWS, fill_slots

Columns = dict[str, NDArray[Any]]
FULL, ROOMY, SNUG = 0.65, 0.4, 0.5  # of the slots: used at most, and used after growing, in a small or large table
SNUG_ROWS = 1 << 19
LEAST_SLOTS = 512
KEPT_AT_EVICTION = 7 / 8  # of a full table, so that there is room until the next eviction
CHUNK = 1 << 20  # rows converted at a time


class Table:
    """A table of rows with typed columns, at most MAX_ROWS.

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
        self.slots = np.full(2, EMPTY, np.uint32)
        self.data: Columns = {name: np.zeros((0, *shape), dtype) for name, (dtype, shape) in columns.items()}

    def __len__(self) -> int:
        return int(self.size[0])

    def __getitem__(self, column: str) -> NDArray[Any]:
        """Return the rows of a column, as a view."""
        return self.data[column][: len(self)]

    @property
    def arrays(self) -> Columns:
        """Return all arrays as the kernels take them.

        They are valid until the table grows.
        """
        return {"slots": self.slots, "keys": self.keys, "size": self.size, **self.data}

    @property
    def room(self) -> int:
        """Return how many rows can be added before `reserve` must be called again."""
        return min(len(self.keys), int(FULL * len(self.slots))) - len(self)

    def reserve(self, n_more: int, let_go: Callable[[], None] | None = None) -> bool:
        """Make room for n more rows, and return True if some arrays are new ones.

        let_go: called before arrays are replaced. An owner drops its views then, for a view keeps the old array.

        The amortised cost is O(1) a row. Raises ValueError beyond MAX_ROWS, and OSError or MemoryError if there is no
        memory. After these two, neither the table nor its owner can be used.
        """
        n = len(self)
        needed = n + n_more
        is_new = needed > len(self.keys)
        if is_new:
            if needed > MAX_ROWS:
                raise ValueError(f"a table holds at most {MAX_ROWS:,} rows, so use more shards")
            if let_go:
                let_go()
            capacity = min(needed + max(256, needed), MAX_ROWS)
            self.keys = _grown(self.keys, n, capacity)
            for name in self.data:
                self.data[name] = _grown(self.data[name], n, capacity)
        if needed > FULL * len(self.slots):
            if let_go:
                let_go()
            self._index(max(LEAST_SLOTS, int(needed / (ROOMY if needed < SNUG_ROWS else SNUG)) + 1))
            is_new = True
        return is_new

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Drop all rows except these (ascending)."""
        n = len(rows)
        if n == len(self):
            return
        for column in (self.keys, *self.data.values()):
            column[:n] = column[rows]
            if column.nbytes >= MAPPED_FROM:
                release(column[n : len(self)])
        self.size[0] = n
        self.slots.fill(EMPTY)
        fill_slots(self.slots, self.keys, n)

    def state(self) -> Columns:
        """Return the rows, as views that cannot be written to."""
        rows = {"keys": self.keys[: len(self)]} | {name: self[name] for name in self._stored}
        for view in rows.values():
            view.flags.writeable = False
        return rows

    def restore(self, state: Columns) -> None:
        """Take the rows of `state()`, or of an earlier version's wider columns.

        Raises ValueError if columns do not fit, if a value does not fit into its column, or if a key occurs twice.
        """
        keys = state["keys"]
        n = len(keys)
        self.size[0] = 0
        self.reserve(n)
        for name, shape in self._stored.items():
            column = state[name]  # a stored state reads it now
            if column.shape != (n, *shape):
                raise ValueError(f"column {name} has shape {column.shape}, not {(n, *shape)}")
            _fill(self.data[name], column, name)
        self.keys[:n] = keys
        self.size[0] = n
        if not self._index(len(self.slots)):
            self.size[0] = 0
            self.slots.fill(EMPTY)
            raise ValueError("the state holds a key twice")

    def _index(self, n_slots: int) -> bool:
        """Make the slots anew. Return False if a key occurs twice."""
        if n_slots != len(self.slots):
            self.slots = np.empty(0, np.uint32)  # freed before the new ones are made
            self.slots = zeros((n_slots,), np.uint32)
        self.slots.fill(EMPTY)
        return bool(fill_slots(self.slots, self.keys, len(self)))


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


def _grown(column: NDArray[Any], n: int, capacity: int) -> NDArray[Any]:
    """Return an array of that many rows, the first n of them those of the column."""
    grown = zeros((capacity, *column.shape[1:]), column.dtype)
    grown[:n] = column[:n]
    return grown


def _fill(column: NDArray[Any], values: NDArray[Any], name: str) -> None:
    """Copy values into the first rows of a column.

    Raises ValueError for a value that does not fit.
    """
    if np.can_cast(values.dtype, column.dtype, "safe"):
        column[: len(values)] = values
        return
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        narrow = part.astype(column.dtype)
        if not np.array_equal(narrow, part):
            raise ValueError(f"a value of column {name} does not fit into {column.dtype}")
        column[start : start + len(part)] = narrow
