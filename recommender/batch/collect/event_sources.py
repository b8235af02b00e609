"""Read rows of events from the log, an archive or a file, in one shape.

    recommender_event (server-side cursor) ──┐
    Parquet (read in batches), CSV (csv_file) ┴──> frames of at most `n` rows with the columns of SCHEMA, and an `id`

They come in pieces of bounded size. Rows with the same `id` are one event. The id is made of the key of the event id,
the actor, the item and the kind, if there is an event id. Otherwise it is the number in the log, which a row shares
with its archived copy. Otherwise it is actor, item, time and kind. So two rows of a file that have neither and agree
in all four are taken for one act. At most one of them would count anyway.

The log keeps only a part of addresses, user agents and referrers (`recommender.intake.privacy`). So rows of the log
and of archives have the keys of the whole too (KEYS), and these are what is learned from.

All SQL that reads whole rows of the log is here. Learners read through `recommender.log.event_log`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from django.db import connection, transaction

from recommender import database_clock
from recommender.batch.collect import csv_file
from recommender.core.parquet_log import KEYS, REQUIRED, LogFileError
from recommender.core.vocabulary import Kind
from recommender.intake.event_rows import event_key
from recommender.log.partitions import partitions

SCHEMA = pl.Schema(
    {
        "seq": pl.Int64(),
        "event_key": pl.String(),
        "ts": pl.Float64(),
        "occurred_at": pl.Float64(),
        "actor": pl.String(),
        "item": pl.String(),
        "kind": pl.String(),
        "session": pl.String(),
        "value": pl.Float64(),
        "recommendation": pl.String(),
        "position": pl.Int32(),
        "ip": pl.String(),
        "user_agent": pl.String(),
        "referrer": pl.String(),
        "country": pl.String(),
        "campaign": pl.String(),
        "list_validity": pl.Int16(),
        "is_crawler": pl.Boolean(),
        "network_key": pl.Int64(),
        "agent_key": pl.Int64(),
        "referrer_key": pl.Int64(),
    }
)
SUFFIXES = (".parquet", ".csv")
SLOT_ROWS = 65_536  # rows read at once when only times are needed
_KINDS = {int(kind): kind.name.lower() for kind in Kind}

_SELECT = """
SELECT seq, encode(event_key, 'hex'), extract(epoch FROM received_at)::float8,
       extract(epoch FROM occurred_at)::float8, actor, item, kind, session, value, recommendation, position, ip,
       user_agent, referrer, country, campaign, list_validity, is_crawler, network, agent, referrer_key
FROM recommender_event WHERE received_at >= %s AND received_at < %s ORDER BY received_at, seq
"""
_COUNT = """
SELECT count(*), coalesce(sum(seq), 0)::text FROM recommender_event WHERE received_at >= %s AND received_at < %s
"""
_SLOTS = """
SELECT floor(extract(epoch FROM received_at)::float8 / %s)::bigint AS slot, count(*) FROM recommender_event
WHERE received_at >= %s AND received_at < %s GROUP BY slot
"""
_PATIENT = "SET LOCAL statement_timeout = 0"  # one statement sorts a day's rows, and nothing is written here
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class RowSource(Protocol):
    """A source of rows."""

    def slots(self, slot_s: int) -> dict[int, int]:
        """Count the rows in each slot of `slot_s` seconds that has any."""
        ...

    def frames(self, n: int) -> Iterator[pl.DataFrame]:
        """Yield all rows, in frames of about n rows at most with the columns of SCHEMA."""
        ...


class LogRows:
    """The log's rows received from `since` on and before `until`, in order of time."""

    def __init__(self, since: datetime | None = None, until: datetime | None = None) -> None:
        self._span = [since or _BEGINNING, until or database_clock.now() + timedelta(days=1)]

    @classmethod
    def of_day(cls, day: date) -> "LogRows":
        """Return the rows of one partition."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return cls(start, start + timedelta(days=1))

    def slots(self, slot_s: int) -> dict[int, int]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_PATIENT)
            cursor.execute(_SLOTS, [slot_s, *self._span])
            return dict(cursor.fetchall())

    def fingerprint(self) -> tuple[int, int]:
        """Return the number of rows, and the sum of their numbers in the log.

        Two sets of rows of one log that agree in both are the same, unless someone went to great lengths to fake
        them.
        """
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_PATIENT)
            cursor.execute(_COUNT, self._span)
            n, total = cursor.fetchone()
        return int(n), int(total)

    def frames(self, n: int) -> Iterator[pl.DataFrame]:
        """Yield rows through a server-side cursor, one partition at a time.

        Server and client each need memory for n rows.
        """
        since, until = self._span
        for day in partitions():
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            span = [max(since, start), min(until, start + timedelta(days=1))]
            if span[0] >= span[1]:
                continue
            with transaction.atomic(), connection.chunked_cursor() as cursor:
                with connection.cursor() as first:
                    first.execute(_PATIENT)
                cursor.execute(_SELECT, span)
                while rows := cursor.fetchmany(n):
                    yield _of_log(rows)


class FileRows:
    """The rows of a Parquet or CSV file, in any order.

    The file needs the columns `ts` (unix seconds), `actor` and `item`. Other known columns are read too. `event_id`
    is the client's own. Raises LogFileError.

    since_s: only rows from this time on. limit: only the first rows of the file.
    """

    def __init__(self, path: Path, *, since_s: float | None = None, limit: int | None = None) -> None:
        self.path, self._since_s, self._is_csv = path, since_s, path.suffix == ".csv"
        if path.suffix not in SUFFIXES:
            raise LogFileError(f"{path} cannot be read: use a {' or '.join(SUFFIXES)} file")
        self._limit = limit
        self._names = set(self._columns())
        if missing := [name for name in REQUIRED if name not in self._names]:
            raise LogFileError(f"{path} has no column {', '.join(missing)}: it needs {', '.join(REQUIRED)}")

    def slots(self, slot_s: int) -> dict[int, int]:
        found: Counter[int] = Counter()
        for frame in self._read({"ts": pl.Float64()}, SLOT_ROWS):
            slots = frame.select((pl.col("ts") / slot_s).floor().cast(pl.Int64).alias("slot")).drop_nulls()
            found.update(dict(slots.group_by("slot").len().iter_rows()))
        return found

    def frames(self, n: int) -> Iterator[pl.DataFrame]:
        """Yield frames of n rows at most.

        A row group of a Parquet file is decoded at once for any n, so row groups should not be huge.
        """
        # a CSV file is never an archive, so columns of these names mean something else there
        taken = self._names - KEYS.keys() if self._is_csv else self._names
        known = {name: dtype for name, dtype in SCHEMA.items() if name in taken}
        if "event_id" in self._names:
            known["event_id"] = pl.String()
        for frame in self._read(known, n):
            yield self._whole(frame)

    def _columns(self) -> list[str]:
        if self._is_csv:
            return csv_file.header(self.path)
        try:
            return pl.scan_parquet(self.path).collect_schema().names()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LogFileError(f"{self.path} cannot be read: {error}") from error

    def _read(self, columns: dict[str, pl.DataType], n: int) -> Iterator[pl.DataFrame]:
        """Yield these columns of the wanted rows, at most n rows per frame."""
        cast = [pl.col(name).cast(dtype) for name, dtype in columns.items()]
        try:
            for frame in self._pieces(list(columns), n):
                whole = frame.select(cast)
                yield whole if self._since_s is None else whole.filter(pl.col("ts") >= self._since_s)
        except pl.exceptions.PolarsError as error:
            raise LogFileError(f"{self.path}: {error}") from error

    def _pieces(self, names: list[str], n: int) -> Iterator[pl.DataFrame]:
        if self._is_csv:
            yield from csv_file.frames(self.path, names, n, self._limit)
            return
        wanted = pl.scan_parquet(self.path).select(names)
        if self._limit is not None:
            wanted = wanted.head(self._limit)
        for frame in wanted.collect_batches(chunk_size=n, maintain_order=True):
            yield from frame.iter_slices(n)

    def _whole(self, frame: pl.DataFrame) -> pl.DataFrame:
        for name in REQUIRED:
            if frame[name].null_count():
                raise LogFileError(f"{self.path}: a row has no {name}")
        if not frame["ts"].is_between(0, 1e11).all():
            raise LogFileError(f"{self.path}: ts must be unix seconds from 0 to 1e11, perhaps it is in milliseconds")
        if "event_id" in frame.columns:
            keys = [None if each is None else event_key(each).hex() for each in frame["event_id"]]
            sent = pl.Series("event_key", keys, dtype=pl.String)
            kept = frame["event_key"].fill_null(sent) if "event_key" in frame.columns else sent
            frame = frame.with_columns(kept.alias("event_key"))
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name not in frame.columns]
        return frame.with_columns(missing).select(SCHEMA.names()).with_columns(pl.col("kind").fill_null("click"))


def identified(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with the column `id`, as the module's docstring defines it."""
    sent = pl.concat_str("event_key", "actor", "item", "kind", separator="\x1f")
    number = pl.lit("#") + pl.col("seq").cast(pl.String)
    act = pl.concat_str("actor", "item", pl.col("ts").cast(pl.String), "kind", separator="\x1f")
    return frame.with_columns(pl.coalesce(sent, number, act).alias("id"))


def _of_log(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    columns = dict(zip(SCHEMA.names(), map(list, zip(*rows, strict=True)), strict=True))
    columns["kind"] = [_KINDS[kind] for kind in columns["kind"]]
    return pl.DataFrame(columns, schema=SCHEMA)
