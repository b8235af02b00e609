"""The holding queue: events that wait, for at most the time of a hold, for what their crowd does next.

    held events ──> Holding ──due──> released: learned at their own time, as if never held
                           └───────> condemned: quarantined, on what came to light meanwhile

Bounded: past MAX_HELD the oldest are due at once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_HELD = 50_000
COLUMNS = {
    "due_ms": np.int64,
    "ordinal": np.int64,
    "received_ms": np.int64,
    "own_ms": np.int64,
    "actor": np.uint64,
    "item": np.uint64,
    "kind": np.int8,
    "country": np.int16,
    "prefix": np.uint64,
    "weight": np.int32,
    "reason": np.int32,
    "first_items": np.int64,
}
Columns = dict[str, NDArray[Any]]


class Holding:
    """Rows in the order in which they came. `names`: their items' ids."""

    def __init__(self) -> None:
        self.columns: Columns = {name: np.empty(0, dtype) for name, dtype in COLUMNS.items()}
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def add(self, columns: Columns, names: list[str]) -> None:
        """Append rows."""
        self.columns = {name: np.concatenate([self.columns[name], columns[name]]) for name in COLUMNS}
        self.names += names

    def is_due(self, now_ms: int) -> bool:
        """Is anything to be decided? The rows stand in order of their time, but for a clock that ran back."""
        return len(self.names) > MAX_HELD or (bool(self.names) and int(self.columns["due_ms"].min()) <= now_ms)

    def due(self, now_ms: int) -> NDArray[np.bool_]:
        """Which rows are due."""
        is_due = self.columns["due_ms"] <= now_ms
        is_due[: max(0, len(self.names) - MAX_HELD)] = True
        return np.asarray(is_due)

    def take(self, rows: NDArray[np.bool_]) -> tuple[Columns, list[str]]:
        """Take rows out."""
        taken = {name: column[rows] for name, column in self.columns.items()}
        names = [self.names[row] for row in np.flatnonzero(rows)]
        self.columns = {name: column[~rows] for name, column in self.columns.items()}
        self.names = [self.names[row] for row in np.flatnonzero(~rows)]
        return taken, names

    def state(self) -> dict[str, Any]:
        return {"names": list(self.names), **{name: column.copy() for name, column in self.columns.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state()` gave. Raises ValueError where columns differ in length."""
        if any(len(state[name]) != len(state["names"]) for name in COLUMNS):
            raise ValueError("the holding queue's columns are of different lengths")
        self.columns = {name: state[name].copy() for name in COLUMNS}
        self.names = list(state["names"])
