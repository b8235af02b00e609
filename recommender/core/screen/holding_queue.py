"""The holding queue: events that wait, for at most the time of a hold, for what their crowd does next.

    held events, and what their actors do about the same items meanwhile
          └──> Holding ──due──> released: learned at their own time, as if never held
                           └──> condemned: quarantined, on what came to light meanwhile

Bounded: past MAX_HELD the oldest are due at once.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.screen.screen import Verdicts
from recommender.core.trend.trend_columns import Events
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import ADMIT, HOLD, UNDO, Reason

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

    def hold_more(self, batch: EventBatch, verdicts: Verdicts, weight: NDArray[np.int32]) -> Verdicts:
        """What an actor does about an item on which its act is being held (weight: of the batch's acts, 0 for what is
        no act): an undo waits with it, or it would find
        nothing, and the act count after all; so does a stronger act. Any other would only count in its place; it adds
        nothing to the held one, if that is released."""
        is_held = verdicts.verdict == HOLD
        if not len(self) and not is_held.any():
            return verdicts
        columns, pairs = self.columns, _pairs(batch.actor, batch.item)
        held = np.concatenate([_pairs(columns["actor"], columns["item"]), pairs[is_held]])
        order = np.argsort(held, kind="stable")
        place = np.minimum(np.searchsorted(held[order], pairs), len(held) - 1)
        is_more = (held[order][place] == pairs) & (verdicts.verdict == ADMIT) & (weight > 0)
        if not is_more.any():
            return verdicts
        is_stronger = weight > np.concatenate([columns["weight"], weight[is_held]])[order][place]
        is_undo = batch.kind == UNDO
        verdicts.verdict[is_more & (is_undo | is_stronger)] = HOLD
        verdicts.reason[is_more] |= np.where(is_undo, Reason.UNDO, Reason.HELD_TOO)[is_more].astype(np.int32)
        cap = np.full(len(batch), WEIGHT_ONE, np.int32) if verdicts.cap is None else verdicts.cap
        return replace(verdicts, cap=np.where(is_more, 0, cap).astype(np.int32))

    def state(self) -> dict[str, Any]:
        return {"names": list(self.names), **{name: column.copy() for name, column in self.columns.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state()` gave. Raises ValueError where columns differ in length."""
        if any(len(state[name]) != len(state["names"]) for name in COLUMNS):
            raise ValueError("the holding queue's columns are of different lengths")
        self.columns = {name: state[name].copy() for name in COLUMNS}
        self.names = list(state["names"])


def as_events(held: Columns) -> Events:
    """Rows of the queue as what is learned."""
    return Events(**{name: held[name] for name in Events._fields})


def _pairs(actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each pair of keys."""
    return np.asarray(actors * np.uint64(0x9E3779B97F4A7C15) + items)
