"""Logs as batches of events, and batches taken apart and put together. Whatever columns a batch has go along.

frame (text columns) ──encode──> EventBatch ──take, merge──> the batch of one second
"""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.events import EventBatch, Kind, country_code
from recommender.core.pipeline import Pipeline

_KINDS = {kind.name.lower(): int(kind) for kind in Kind}
# what `Pipeline.encode` may take besides times, ids, kinds and countries: parameter, column
_TEXTS = {
    "sessions": "session",
    "ips": "ip",
    "user_agents": "user_agent",
    "referrers": "referrer",
    "recommendations": "recommendation",
}
_TAKEN = frozenset(inspect.signature(Pipeline.encode).parameters)


def encode(pipeline: Pipeline, frame: pl.DataFrame) -> EventBatch:
    """A log (columns as `world.as_text` leaves them) as one batch, as `LogFile` would give it."""
    received_ms = np.floor(frame["ts"].to_numpy() * 1000).astype(np.int64)
    more: dict[str, Any] = {}
    if "kind" in frame.columns:
        kinds = frame["kind"].fill_null("click").replace_strict(_KINDS, default=int(Kind.CLICK), return_dtype=pl.Int8)
        more["kind"] = kinds.to_numpy()
    if "country" in frame.columns:
        codes = {name: country_code(name) for name in frame["country"].drop_nulls().unique()}
        more["country"] = np.array([codes.get(name, 0) for name in frame["country"]], np.int16)
    for parameter, column in _TEXTS.items():
        if parameter in _TAKEN and column in frame.columns:
            more[parameter] = frame[column].to_list()
    return pipeline.encode(
        received_ms=received_ms, actors=frame["actor"].to_list(), items=frame["item"].to_list(), **more
    )


def take(batch: EventBatch, rows: NDArray[np.int64], received_ms: NDArray[np.int64] | None = None) -> EventBatch:
    """Rows of a batch, in the order given; sent at other times where given."""
    columns: dict[str, Any] = {}
    for field in fields(batch):
        column = getattr(batch, field.name)
        columns[field.name] = (
            column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows.tolist()]
        )
    if received_ms is not None:
        columns["received_ms"] = columns["occurred_ms"] = received_ms
    return EventBatch(**columns)


def merge(parts: Sequence[EventBatch]) -> tuple[EventBatch, NDArray[np.int64]]:
    """Batches as one in order of time (of equal times the earlier part's first), and the place in the concatenation
    each row came from."""
    columns: dict[str, Any] = {}
    for field in fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        is_array = isinstance(values[0], np.ndarray)
        columns[field.name] = np.concatenate(values) if is_array else [each for value in values for each in value]
    order = np.argsort(columns["received_ms"], kind="stable")
    return take(EventBatch(**columns), order), order


def cut(received_ms: NDArray[np.int64], start_ms: int, step_ms: int, n_steps: int) -> NDArray[np.int64]:
    """Where steps begin in a sorted column: int64 (n_steps + 1,)."""
    return np.searchsorted(received_ms, start_ms + step_ms * np.arange(n_steps + 1), "left")
