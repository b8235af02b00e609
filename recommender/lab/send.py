"""A log in a file, sent through the live HTTP API. `manage.py send` is the command.

    Parquet ──polars, a chunk at a time──> rows ──> event dicts ──batches──> connections ──> POST /api/v1/events

Every event's id is made of the file's digest, the run's name and the row's number. So a batch may be repeated, and a
whole run of the same name: what is in the log already is answered as a duplicate.

Times are rebased, never into the future. As fast as the server takes it: the log keeps its own spacing and its last
row happens now, so the lists look as they did at the end of the log; what is older than MAX_AGE_S is moved up to it,
which is where a server with the usual settings counts it anyway. With a speed X: the first row happens now, each row
is sent when it is due, time running X times as fast as in the log.
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
SEND_EVERY_S = 0.25  # with a speed, no event waits longer for its batch to fill
REQUIRED = ("ts", "actor", "item")
# file column: where it goes in an event
FIELDS = {"kind": "kind", "value": "value", "session": "session", "recommendation": "recommendation"}
CONTEXT = {"ip": "ip", "user_agent": "user_agent", "referrer": "referrer", "country": "country"}
_TEXT = frozenset({"actor", "item", "session", "recommendation"})
_ONLY_TEXT = frozenset(
    {"kind", "ip", "user_agent", "referrer", "country"}
)  # numbers there are codes of the file's own


class UnreadableLog(Exception):
    """The file is not a log of events; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to send together, when it is `due_at` (unix seconds)."""

    events: list[dict[str, Any]]
    due_at: float


class EventFile:
    """A Parquet log as events. n_rows: how many will be sent; memory: one chunk."""

    def __init__(self, path: Path, *, run: str, limit: int | None = None) -> None:
        try:
            frame = pl.scan_parquet(path)
            types = frame.collect_schema()
            missing = [name for name in REQUIRED if name not in types]
            if missing:
                raise UnreadableLog(f"{path} has no column {', '.join(missing)}; a log has {', '.join(REQUIRED)}.")
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
        """All rows in order, `size` at a time. `started_at` is now, in unix seconds."""
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
    """What is sent of a file; columns of the right name and the wrong type are the file's own and stay out."""
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
    """What came of a run."""

    receipt: Receipt
    n_retries: int
    seconds: float
    is_complete: bool


class Sender:
    """Sends batches over several connections at once; each thread has its own client and takes the next batch."""

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
        """All of them, or what is answered until `stop`. Raises Refused, and what reading the file raises."""
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
        """Wait until the batch is due and somebody can take it; False where everything is to stop."""
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
        except Exception as error:  # whatever it is, the others must not wait for this thread
            self._failure = error
            self._stop.set()
        finally:
            client.close()
