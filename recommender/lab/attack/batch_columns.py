"""Turn logs into batches of events, and cut and merge batches.

All columns of a batch are kept.

frame (text columns) ──encode──> EventBatch ──take, merge──> the batch of one second
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.events import EventBatch, country_code, joined
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Kind

_KINDS = {kind.name.lower(): int(kind) for kind in Kind}
# arguments of `Pipeline.encode` in addition to times, ids, kinds and countries, each with its column
_TEXTS = {
    "sessions": "session",
    "ips": "ip",
    "user_agents": "user_agent",
    "referrers": "referrer",
    "recommendations": "recommendation",
}
_TAKEN = frozenset(inspect.signature(Pipeline.encode).parameters)


def encode(pipeline: Pipeline, frame: pl.DataFrame) -> EventBatch:
    """Encode a log as one batch, as `LogFile` would.

    frame: columns as `known_site.as_text` leaves them.
    """
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
    """Take rows of a batch in the order given, at other times if they are given."""
    taken = batch.take(rows)
    return taken if received_ms is None else replace(taken, received_ms=received_ms, occurred_ms=received_ms)


def merge(parts: Sequence[EventBatch]) -> tuple[EventBatch, NDArray[np.int64]]:
    """Merge batches in order of time. Return the batch and the order of its rows.

    At equal times, rows of an earlier part come first. The order gives each row's place in the concatenated parts.
    """
    together = joined(parts)
    order = np.argsort(together.received_ms, kind="stable")
    return together.take(order), order


def cut(received_ms: NDArray[np.int64], start_ms: int, step_ms: int, n_steps: int) -> NDArray[np.int64]:
    """Find where steps begin in a sorted column: int64 (n_steps + 1,)."""
    return np.searchsorted(received_ms, start_ms + step_ms * np.arange(n_steps + 1), "left")
