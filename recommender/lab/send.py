"""Send a log file through the live HTTP API. `manage.py send` is the command.

    Parquet ──polars, a chunk at a time──> rows ──> event dicts ──batches──> connections ──> POST /api/v1/events

The id of every event is made of the file's digest, the run's name and the row's number. So a batch may be repeated,
and so may a whole run of the same name. The server answers that events already in the log are duplicates.

Times are moved, but never into the future. There are two ways:

- As fast as the server takes the events. The log keeps its own spacing and its last row happens now, so the lists
  look as they did at the end of the log. Events older than MAX_AGE_S are moved up to that age. A server with the
  usual settings would count them at that age anyway.
- With a speed X. The first row happens now, and time runs X times as fast as in the log. Each row is sent when it is
  due.
"""

import hashlib
import queue
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recommender.lab.client import Client, Receipt, Stopped

CHUNK_ROWS = 50_000
MAX_AGE_S = 86_400.0
SEND_EVERY_S = 0.25  # with a speed, no event waits longer than this for its batch to fill
REQUIRED = ("ts", "actor", "item")
# column of the file: its place in an event
FIELDS = {"kind": "kind", "value": "value", "session": "session", "recommendation": "recommendation"}
CONTEXT = {"ip": "ip", "user_agent": "user_agent", "referrer": "referrer", "country": "country"}
_TEXT = frozenset({"actor", "item", "session", "recommendation"})
_ONLY_TEXT = frozenset(
    {"kind", "ip", "user_agent", "referrer", "country"}
)  # numbers in these columns are codes of the file's own


class UnreadableLog(Exception):
    """The file is not a log of events. The message says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to send together at `due_at` (unix seconds)."""

    events: list[dict[str, Any]]
    due_at: float


class EventFile:
    """A Parquet log as events, read one chunk at a time.

    n_rows: number of events that will be sent.
    """

    def __init__(self, path: Path, *, run: str, limit: int | None = None) -> None:
        try:
            frame = pl.scan_parquet(path)
            types = frame.collect_schema()
            missing = [name for name in REQUIRED if name not in types]
            if missing:
                raise UnreadableLog(f"{path} has no column {', '.join(missing)}. A log needs {', '.join(REQUIRED)}.")
            frame = frame.head(limit) if limit is not None else frame
            ts = pl.col("ts")
            first, last, n_rows, n_timed = (
                frame.select(ts.min(), ts.max().alias("last"), pl.len(), ts.is_finite().sum().alias("timed"))
                .collect()
                .row(0)
            )
            if n_timed != n_rows:
                raise UnreadableLog(f"{path}: {n_rows - n_timed} rows have no time in `ts` (unix seconds).")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UnreadableLog(f"{path} cannot be read as Parquet: {error}") from None
        self.first_ts, self.last_ts, self.n_rows = float(first or 0), float(last or 0), int(n_rows)
        self._frame = frame.select(_columns(types))
        self._id_start = f"{digest}-{run}-"

    def batches(self, size: int, *, speed: float | None, started_at: float) -> Iterator[Batch]:
        """Yield all rows in order, `size` at a time.

        started_at: now, in unix seconds.
        """
        row = 0
        for chunk in self._frame.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True):
            times = self._times(chunk["ts"], speed, started_at)
            start = 0
            while start < len(chunk):
                end = min(start + size, len(chunk))
                if speed:
                    end = min(end, bisect_right(times, times[start] + SEND_EVERY_S, start + 1, end))
                rows = chunk.slice(start, end - start).drop("ts").iter_rows(named=True)
                events = [_event(each, f"{self._id_start}{row + i}", times[start + i]) for i, each in enumerate(rows)]
                yield Batch(events, times[end - 1] if speed else 0.0)
                row += len(events)
                start = end

    def _times(self, ts: pl.Series, speed: float | None, started_at: float) -> list[float]:
        if speed:
            times = started_at + (ts - self.first_ts) / speed
        else:
            times = (started_at + (ts - self.last_ts)).clip(lower_bound=started_at - MAX_AGE_S)
        return times.round(3).to_list()


def _columns(types: pl.Schema) -> list[pl.Expr]:
    """Return the columns that are sent.

    A column with the right name and the wrong type belongs to the file and is not sent.
    """
    columns = [pl.col("ts").cast(pl.Float64)]
    for name in (*REQUIRED[1:], *FIELDS, *CONTEXT):
        if name not in types or (name in _ONLY_TEXT and types[name] not in (pl.String, pl.Categorical, pl.Enum)):
            continue
        column = pl.col(name)
        if name in _TEXT or name in _ONLY_TEXT:
            column = column.cast(pl.String)
        if name == "value":
            column = column.cast(pl.Float64)
            column = pl.when(column.is_finite()).then(column)
        if name == "country":
            column = pl.when(column.str.contains("^[A-Za-z]{2}$")).then(column)
        columns.append(column.alias(name))
    return columns


def _event(values: dict[str, Any], event_id: str, occurred_at: float) -> dict[str, Any]:
    event = {"event_id": event_id, "occurred_at": occurred_at, "actor": values["actor"], "item": values["item"]}
    for name in FIELDS:
        if (value := values.get(name)) is not None:
            event[name] = value
    if context := {name: value for name in CONTEXT if (value := values.get(name)) is not None}:
        event["context"] = context
    return event


@dataclass(slots=True)
class Sent:
    """Result of a run."""

    receipt: Receipt
    n_retries: int
    seconds: float
    is_complete: bool


class Sender:
    """Sends batches over several connections at once.

    Each thread has its own client and takes the next batch.
    """

    def __init__(
        self, clients: Sequence[Client], *, stop: threading.Event, on_answer: Callable[[Receipt], None] | None = None
    ) -> None:
        self._clients, self._stop = clients, stop
        self._on_answer = on_answer or (lambda _receipt: None)
        self._batches: queue.Queue[Batch | None] = queue.Queue(maxsize=2 * len(clients))
        self._lock = threading.Lock()
        self._receipt = Receipt()
        self._failure: Exception | None = None

    def send(self, batches: Iterator[Batch]) -> Sent:
        """Send all batches, or as many as are answered before `stop`.

        Raises Refused, and any error of reading the file.
        """
        began_at = time.monotonic()
        threads = [threading.Thread(target=self._work, args=(client,), daemon=True) for client in self._clients]
        for thread in threads:
            thread.start()
        try:
            is_complete = all(self._offer(batch) for batch in batches)
        finally:
            for _ in threads:
                self._offer(None)
            for thread in threads:
                thread.join()
        if self._failure:
            raise self._failure
        n_retries = sum(client.n_retries for client in self._clients)
        is_complete = is_complete and not self._stop.is_set()
        return Sent(self._receipt, n_retries, time.monotonic() - began_at, is_complete)

    def _offer(self, batch: Batch | None) -> bool:
        """Wait until the batch is due and a thread takes it. Return False to stop."""
        if batch is not None and (wait_s := batch.due_at - time.time()) > 0:
            self._stop.wait(wait_s)
        while not self._stop.is_set():
            try:
                self._batches.put(batch, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _work(self, client: Client) -> None:
        try:
            while not self._stop.is_set():
                try:
                    batch = self._batches.get(timeout=0.1)
                except queue.Empty:
                    continue
                if batch is None:
                    return
                receipt = client.post_events(batch.events)
                with self._lock:
                    self._receipt += receipt
                self._on_answer(receipt)
        except Stopped:
            pass
        except Exception as error:  # after any error, the other threads must not wait for this one
            self._failure = error
            self._stop.set()
        finally:
            client.close()
