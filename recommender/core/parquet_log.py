"""Read event logs from Parquet files, and cut them into steps by stream time.

    file ──> chunks of rows (columns unchanged) ──> EventBatch ──> steps: all events of one bucket of stream time

Required columns: `ts` (unix seconds), `actor`, `item`.
Optional columns: `kind` (a name, default click), `occurred_at` (unix seconds), `country` (two letters), `session`,
`ip`, `user_agent`, `referrer` (text or number).
An empty referrer means that there is none. A log that keeps only a part of these texts has the keys of the whole in
`network_key`, `agent_key`, `referrer_key` (integers) and `is_crawler`. Where they are given, they count instead.

Rows must be sorted by `ts`. Steps are cut by time only, never by count, so leaving rows out moves no boundary. A
replay without some actors therefore equals, bit for bit, the replay of a log that never held them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.events import Encoder, EventBatch, country_code, joined
from recommender.core.vocabulary import Kind

CHUNK_ROWS = 262_144
REQUIRED = ("ts", "actor", "item")
KEYS = {"network_key": "prefix", "agent_key": "agent", "referrer_key": "referrer", "is_crawler": "is_automated"}
"""Columns of a file that replace columns of the batch."""
OPTIONAL = ("kind", "occurred_at", "country", "session", "ip", "user_agent", "referrer")


class LogFileError(ValueError):
    """The file is not a readable log, for the reason in the message."""


@dataclass(frozen=True, slots=True)
class LogFileStep:
    """Events of one bucket of stream time.

    rows: their numbers in the file, int64 (n,).
    """

    batch: EventBatch
    rows: NDArray[np.int64]


class LogFile:
    """An event log in one Parquet file.

    limit: the number of rows read at most.
    without: actors left out, as if the file did not contain them.
    chunk_rows: rows held in memory at once.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        limit: int | None = None,
        without: frozenset[str] = frozenset(),
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.path = Path(path)
        try:
            self._frame = pl.scan_parquet(self.path)
            self._types = self._frame.collect_schema()
            n_rows = int(self._frame.select(pl.len()).collect().item())
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LogFileError(f"{self.path} cannot be read as Parquet: {error}") from error
        missing = [name for name in REQUIRED if name not in self._types]
        if missing:
            raise LogFileError(f"{self.path} has no column {', '.join(missing)}. It needs {', '.join(REQUIRED)}.")
        self.n_rows = min(n_rows, limit) if limit is not None else n_rows
        self._without = without
        self._chunk_rows = chunk_rows
        self._last_ms = 0
        self.unknown_kinds: set[str] = set()  # met so far, and read as clicks

    def steps(self, encoder: Encoder, *, bucket_ms: int) -> Iterator[LogFileStep]:
        """Yield the whole file, step by step.

         One chunk and one step are in memory at a time. Raises LogFileError for rows that are out of order, or that
        have no time, actor or item.
        """
        held: list[LogFileStep] = []  # of a bucket that may continue in the next chunk
        for start in range(0, self.n_rows, self._chunk_rows):
            chunk = self._chunk(encoder, start, min(self._chunk_rows, self.n_rows - start))
            buckets = chunk.batch.received_ms // bucket_ms
            cuts = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(buckets)]
            for first, end in pairwise(cuts):
                if first == end:
                    continue
                part = LogFileStep(chunk.batch[first:end], chunk.rows[first:end])
                if held and held[-1].batch.received_ms[-1] // bucket_ms != buckets[first]:
                    yield _joined(held)
                    held = []
                held.append(part)
        if held:
            yield _joined(held)

    def _chunk(self, encoder: Encoder, start: int, n: int) -> LogFileStep:
        names = [*REQUIRED, *(name for name in OPTIONAL if name in self._types), *self._keys()]
        if "country" in names and self._types["country"] not in (pl.String, pl.Categorical):
            names.remove("country")  # a code of the file's own, not one of our country codes
        frame = self._frame.select(names).slice(start, n).with_columns(pl.col("actor", "item").cast(pl.String))
        rows = frame.collect().with_row_index("row", offset=start)
        if self._without:
            rows = rows.filter(~pl.col("actor").is_in(list(self._without)))
        columns = {name: rows[name] for name in names}
        for name in REQUIRED:
            if columns[name].null_count():
                row = int(rows["row"][int(columns[name].is_null().arg_max() or 0)])
                raise LogFileError(f"{self.path}, row {row} has no {name}")
        received_ms = self._times(columns["ts"], rows)
        occurred_ms = received_ms
        if "occurred_at" in columns:
            occurred_ms = _to_ms(columns["occurred_at"].fill_null(columns["ts"]))
        batch = encoder.encode(
            received_ms=received_ms,
            occurred_ms=occurred_ms,
            actors=columns["actor"].to_list(),
            items=columns["item"].to_list(),
            kind=self._kinds(columns, len(rows)),
            country=_countries(columns, len(rows)),
            sessions=_texts(columns, "session"),
            ips=_texts(columns, "ip"),
            user_agents=_texts(columns, "user_agent"),
            referrers=_texts(columns, "referrer"),
        )
        kept: dict[str, Any] = {KEYS[name]: _keys_of(columns[name], batch, KEYS[name]) for name in self._keys()}
        batch = replace(batch, **kept)
        return LogFileStep(batch, rows["row"].to_numpy().astype(np.int64))

    def _keys(self) -> list[str]:
        """Return the columns of keys. A column of another type means something else."""
        return [
            name for name in KEYS if name in self._types and self._types[name] in (pl.Int64, pl.UInt64, pl.Boolean)
        ]

    def _times(self, ts: pl.Series, rows: pl.DataFrame) -> NDArray[np.int64]:
        seconds = ts.cast(pl.Float64).to_numpy()
        if not np.isfinite(seconds).all() or (len(seconds) and (seconds.min() < 0 or seconds.max() > 1e11)):
            raise LogFileError(f"{self.path}: ts must be unix seconds from 0 to 1e11. Is it in milliseconds?")
        received_ms = _to_ms(ts)
        falls = np.flatnonzero(np.diff(received_ms, prepend=self._last_ms) < 0)
        if len(falls):
            raise LogFileError(
                f"{self.path}, row {rows['row'][int(falls[0])]}: earlier than the row before. Sort the file by ts."
            )
        if len(received_ms):
            self._last_ms = int(received_ms[-1])
        return received_ms

    def _kinds(self, columns: dict[str, pl.Series], n: int) -> NDArray[np.int8]:
        if "kind" not in columns:
            return np.full(n, Kind.CLICK, np.int8)
        names = columns["kind"].cast(pl.String).fill_null("click")
        numbers = {kind.name.lower(): int(kind) for kind in Kind}
        self.unknown_kinds |= set(names.unique()) - set(numbers)
        known = names.replace_strict(numbers, default=int(Kind.CLICK), return_dtype=pl.Int8)
        return np.asarray(known, np.int8)


def _to_ms(seconds: pl.Series) -> NDArray[np.int64]:
    return np.asarray(np.floor(seconds.cast(pl.Float64).to_numpy() * 1000), np.int64)


def _countries(columns: dict[str, pl.Series], n: int) -> NDArray[np.int16]:
    if "country" not in columns:
        return np.zeros(n, np.int16)
    return np.array([country_code(name or "") for name in columns["country"].cast(pl.String)], np.int16)


def _keys_of(kept: pl.Series, batch: EventBatch, name: str) -> NDArray[Any]:
    """Return a column of the batch, with the keys that the file kept."""
    made: NDArray[Any] = getattr(batch, name)
    given = kept.fill_null(value=False) if kept.dtype == pl.Boolean else kept.fill_null(0)
    return np.where(kept.is_not_null().to_numpy(), given.to_numpy().astype(made.dtype), made)


def _joined(parts: list[LogFileStep]) -> LogFileStep:
    if len(parts) == 1:
        return parts[0]
    return LogFileStep(joined([part.batch for part in parts]), np.concatenate([part.rows for part in parts]))


def _texts(columns: dict[str, pl.Series], name: str) -> list[str | None] | None:
    return columns[name].cast(pl.String).to_list() if name in columns else None
