"""The holding queue: events that wait for their crowd's next acts.

An event waits for at most the time of a hold.

    held events, and the acts of their actors on the same items meanwhile
          └──> Holding ──due──> released: learned at their own time, as if never held
                           └──> condemned: quarantined, on evidence that came up meanwhile

The queue is bounded. Beyond MAX_HELD events the oldest are due at once.
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
    """Held events as rows, in the order in which they came.

    `names` has the ids of their items.
    """

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
        """Return True if any event is due.

        Rows are in order of time unless a clock ran back, so it searches for the earliest time.
        """
        return len(self.names) > MAX_HELD or (bool(self.names) and int(self.columns["due_ms"].min()) <= now_ms)

    def due(self, now_ms: int) -> NDArray[np.bool_]:
        """Return which rows are due."""
        is_due = self.columns["due_ms"] <= now_ms
        is_due[: max(0, len(self.names) - MAX_HELD)] = True
        return np.asarray(is_due)

    def take(self, rows: NDArray[np.bool_]) -> tuple[Columns, list[str]]:
        """Remove rows and return them, with the names of their items."""
        taken = {name: column[rows] for name, column in self.columns.items()}
        names = [self.names[row] for row in np.flatnonzero(rows)]
        self.columns = {name: column[~rows] for name, column in self.columns.items()}
        self.names = [self.names[row] for row in np.flatnonzero(~rows)]
        return taken, names

    def hold_more(self, batch: EventBatch, verdicts: Verdicts, weight: NDArray[np.int32]) -> Verdicts:
        """Hold further acts of an actor on an item while its first act there is held.

        An undo waits too. Otherwise it would find nothing to undo, and the act would count after its release. A
        stronger act waits too. Any other act is admitted but learned at no weight. Otherwise it would count in place
        of the held act, and after a release it adds nothing to it.

        weight: of the batch's acts, 0 for an event that is no act.
        """
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
        """Restore the result of `state()`. Raises ValueError if columns differ in length."""
        if any(len(state[name]) != len(state["names"]) for name in COLUMNS):
            raise ValueError("the columns of the holding queue differ in length")
        self.columns = {name: state[name].copy() for name in COLUMNS}
        self.names = list(state["names"])


def as_events(held: Columns) -> Events:
    """Return rows of the queue as events to be learned."""
    return Events(**{name: held[name] for name in Events._fields})


def _pairs(actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a number for each pair of keys."""
    return np.asarray(actors * np.uint64(0x9E3779B97F4A7C15) + items)
