"""The event log: append events, and read them back in commit order.

    append(events) ─INSERT─> recommender_event (a partition a day)
    read(after=position) ──> the next events below every transaction still open ──> EventBatch columns

All SQL of the log is here, except that of its partitions (`recommender.log.partitions`).

Serial numbers become visible out of order: of two writers, the one with the higher number may commit first. A reader
that remembers only the highest number it saw would skip the other. So the log is ordered by the id of the writing
transaction, then by number. It is read only below `pg_snapshot_xmin(pg_current_snapshot())`. Every transaction below
that has ended, so nothing can appear there any more. Rows are never updated, so each keeps its position for ever.
A generation before the transaction's id keeps this order when the log moves to another server
(`recommender.log.origin`). On a server that is not known yet, nothing is appended and no new event is read.

A transaction that has written and stays open delays the reader for as long, in any database of the server. This is a
visible lag and loses nothing.

Partitions are chosen by time but the position is not. So the reader gives PostgreSQL a bound for the search:
`PARTITION_SLACK` before the stream time already read. A row not yet read was written by a later transaction than the
last row read. The statement that wrote it began at most one statement_timeout (60 s, config/settings.py) before that
later transaction got its id. One day covers this, and also a clock set back by hours.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import psycopg
from django.conf import settings
from django.db import IntegrityError, connection
from numpy.typing import NDArray

from recommender.core.events import country_code
from recommender.log.origin import on_known_server
from recommender.log.partitions import ensure_partitions
from recommender.models import Step

N_BUCKETS = 64  # actors are divided into buckets, and each shard takes whole buckets
PARTITION_SLACK = timedelta(days=1)
POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01, the zero of timestamptz

_ROW = np.dtype([("xid", ">i8"), ("seq", ">i8"), ("received", ">i8"), ("occurred", ">i8"), ("kind", ">i2")])


class Position(NamedTuple):
    """A place in the log: after the event `seq` written by transaction `xid`.

    (0, 0) is the beginning. `xid` contains the generation (`recommender.log.origin`).
    """

    xid: int = 0
    seq: int = 0


@dataclass(slots=True)
class NewEvents:
    """Validated events as lists of equal length, ready to append.

    key: the 16-byte hash of the client's event id, or None if it sent none. No key may appear twice.
    occurred_at: unix seconds.
    """

    key: list[bytes | None]
    actor: list[str]
    item: list[str]
    kind: list[int]
    occurred_at: list[float | None]
    session: list[str | None]
    value: list[float | None]
    recommendation: list[str | None]
    position: list[int | None]
    ip: list[str | None]
    user_agent: list[str | None]
    referrer: list[str | None]
    country: list[str | None]

    def __len__(self) -> int:
        return len(self.actor)


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Consecutive events of the log as columns."""

    xid: NDArray[np.int64]
    seq: NDArray[np.int64]
    received_ms: NDArray[np.int64]
    occurred_ms: NDArray[np.int64]
    kind: NDArray[np.int8]
    country: NDArray[np.int16]
    actors: list[str]
    items: list[str]
    sessions: list[str | None] | None  # None: no event has one
    ips: list[str | None] | None
    user_agents: list[str | None] | None
    referrers: list[str | None] | None
    is_end: bool  # no later event was visible, and no transaction was open

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def end(self) -> Position:
        return Position(int(self.xid[-1]), int(self.seq[-1]))


_COLUMNS = """event_key, bucket, kind, actor, item, occurred_at, session, value, recommendation, position, ip,
              user_agent, referrer, country"""
_TYPES = [
    "smallint",
    "smallint",
    "text",
    "text",
    "float8",
    "text",
    "float8",
    "text",
    "integer",
    "text",
    "text",
    "text",
    "text",
]

# Keys are inserted in order, so that two writers with the same keys wait for one another instead of deadlocking. The
# position is asked for once a statement. As the column's default it would be asked for once a row, at 8 us each.
_APPEND = f"""
WITH input AS (
    SELECT * FROM unnest(%b::bytea[], {", ".join(f"%b::{each}[]" for each in _TYPES)})
    WITH ORDINALITY AS t({_COLUMNS}, n)
), fresh AS (
    INSERT INTO recommender_event_key (key) SELECT event_key FROM input WHERE event_key IS NOT NULL ORDER BY event_key
    ON CONFLICT DO NOTHING RETURNING key
), written AS (
    INSERT INTO recommender_event (xid, {_COLUMNS})
    SELECT (SELECT recommender_xid()),
           event_key, bucket, kind, actor, item, to_timestamp(occurred_at), session, value, recommendation,
           position, ip, user_agent, referrer, country
    FROM input WHERE event_key IS NULL OR event_key IN (SELECT key FROM fresh) ORDER BY n
    RETURNING 1
)
SELECT count(*) FROM written
"""

# The same for one event that has a key, in two thirds of the time.
_APPEND_ONE = f"""
WITH fresh AS (
    INSERT INTO recommender_event_key (key) VALUES (%b) ON CONFLICT DO NOTHING RETURNING key
), written AS (
    INSERT INTO recommender_event ({_COLUMNS})
    SELECT key, {", ".join(f"%b::{each}" for each in _TYPES)} FROM fresh RETURNING 1
)
SELECT count(*) FROM written
""".replace("%b::float8", "to_timestamp(%b::float8)", 1)

_APPEND_AT = """
WITH written AS (
    INSERT INTO recommender_event (received_at, bucket, kind, actor, item, session, ip, user_agent, referrer, country)
    SELECT to_timestamp(received), bucket, kind, actor, item, session, ip, user_agent, referrer, country
    FROM unnest(%b::float8[], %b::smallint[], %b::smallint[], %b::text[], %b::text[], %b::text[], %b::text[],
                %b::text[], %b::text[], %b::text[])
         WITH ORDINALITY AS t(received, bucket, kind, actor, item, session, ip, user_agent, referrer, country, n)
    ORDER BY n
    RETURNING 1
)
SELECT count(*) FROM written
"""

_PACK = """
SELECT string_agg(xid8send(xid) || int8send(seq) || timestamptz_send(received_at)
                  || timestamptz_send(coalesce(occurred_at, received_at)) || int2send(kind), ''::bytea),
       string_agg(actor, E'\\n'), string_agg(item, E'\\n'), string_agg(coalesce(country, ''), E'\\n'),
       string_agg(coalesce(session, ''), E'\\n'), string_agg(coalesce(ip, ''), E'\\n'),
       string_agg(coalesce(user_agent, ''), E'\\n'), string_agg(coalesce(referrer, ''), E'\\n'),
       (SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) FROM pg_current_snapshot() s)
FROM ({rows}) AS e
"""
_READ = _PACK.format(
    rows="""
    SELECT * FROM recommender_event
    WHERE received_at >= %(since)s
      AND (xid, seq) > (%(after_xid)s::text::xid8, %(after_seq)s)
      AND {bound}
      AND bucket %% %(shards)s = %(shard)s
    ORDER BY xid, seq LIMIT %(limit)s"""
)
_READ_AT = _PACK.format(
    rows="""
    SELECT * FROM recommender_event
    WHERE received_at >= %(since)s
      AND (xid, seq) IN (SELECT x::xid8, s FROM unnest(%(xids)b::text[], %(seqs)b::bigint[]) AS at(x, s))
    ORDER BY xid, seq"""
)
_ACTOR_STEPS = """
SELECT e.xid::text::bigint, e.seq, s.number
FROM recommender_event AS e, LATERAL (
    SELECT number, from_xid, from_seq FROM recommender_step
    WHERE shard = %(shard)s AND (to_xid, to_seq) >= (e.xid::text::bigint, e.seq)
    ORDER BY to_xid, to_seq, number LIMIT 1
) AS s
WHERE e.actor = %(actor)s AND (s.from_xid, s.from_seq) < (e.xid::text::bigint, e.seq)
ORDER BY e.xid, e.seq
"""
_ERASE = """
WITH gone AS (
    DELETE FROM recommender_event WHERE actor = %s RETURNING xid, seq, event_key
), forgotten AS (
    DELETE FROM recommender_event_key WHERE key IN (SELECT event_key FROM gone WHERE event_key IS NOT NULL)
)
SELECT xid::text::bigint, seq FROM gone ORDER BY xid, seq
"""
_READ_NEW = _READ.format(bound="xid < (SELECT recommender_readable_before())")
_READ_KNOWN = _READ.format(bound="(xid, seq) <= (%(to_xid)s::text::xid8, %(to_seq)s)")


def append(events: NewEvents) -> int:
    """Write the events whose key is new, in one transaction, and return their number.

    They are committed on return, unless the caller has a transaction open. About 20 us an event. Raises
    ServerNotKnown.
    """
    arrays: list[list[Any]] = [
        events.key,
        [_bucket(actor) for actor in events.actor],
        events.kind,
        events.actor,
        events.item,
        events.occurred_at,
        events.session,
        events.value,
        events.recommendation,
        events.position,
        events.ip,
        events.user_agent,
        events.referrer,
        events.country,
    ]
    query, parameters = _APPEND, [nullable(values) for values in arrays]
    if len(events) == 1 and events.key[0] is not None:
        query, parameters = _APPEND_ONE, [values[0] for values in arrays]
    try:
        (written,) = on_known_server(lambda: fetch(query, parameters))
    except IntegrityError as error:
        if not isinstance(error.__cause__, psycopg.errors.CheckViolation):
            raise
        ensure_partitions()  # today had no partition, because housekeeping did not run for a week
        (written,) = on_known_server(lambda: fetch(query, parameters))
    return int(written)


def append_at(events: NewEvents, received_at: Sequence[float]) -> None:
    """Write events as if they had come at other times, for demonstrations.

    Use it only on a demonstration's own database. The partitions must exist. Event ids are ignored.

    received_at: unix seconds, ascending.
    """
    texts = [events.session, events.ip, events.user_agent, events.referrer, events.country]
    columns = [list(received_at), [_bucket(actor) for actor in events.actor], events.kind, events.actor, events.item]
    fetch(_APPEND_AT, [*columns, *map(nullable, texts)])


def read(
    *,
    after: Position,
    since_ms: int,
    limit: int,
    until: Position | None = None,
    shard: int = 0,
    shards: int = 1,
) -> LogSlice:
    """Return the next events after a position, oldest first, at most `limit`.

    About 1 us an event.

    since_ms: the stream time at that position, 0 at the beginning.
    until: read up to and including this position, which must have been read before.

    Raises OperationalError if `until` is None and the server is not known (`recommender.log.origin.current`).
    """
    since = (
        datetime.fromtimestamp(since_ms / 1000, UTC) - PARTITION_SLACK
        if since_ms
        else datetime(2000, 1, 1, tzinfo=UTC)
    )
    parameters = {
        "since": since,
        "after_xid": after.xid,
        "after_seq": after.seq,
        "shards": shards,
        "shard": shard,
        "limit": limit,
    }
    if until is not None:
        parameters |= {"to_xid": until.xid, "to_seq": until.seq}
    return _slice(fetch(_READ_NEW if until is None else _READ_KNOWN, parameters), limit)


def _slice(fetched: tuple[Any, ...], limit: int) -> LogSlice:
    packed, actors, items, countries, *context, is_quiet = fetched
    rows = np.frombuffer(packed or b"", _ROW)
    sessions, ips, user_agents, referrers = (_texts(column) for column in context)
    of_rows = countries.split("\n") if rows.size else []
    codes = {country: country_code(country) for country in set(of_rows)}
    return LogSlice(
        xid=rows["xid"].astype(np.int64),
        seq=rows["seq"].astype(np.int64),
        received_ms=_to_unix_ms(rows["received"]),
        occurred_ms=_to_unix_ms(rows["occurred"]),
        kind=rows["kind"].astype(np.int8),
        country=np.fromiter((codes[country] for country in of_rows), np.int16, count=len(of_rows)),
        actors=actors.split("\n") if rows.size else [],
        items=items.split("\n") if rows.size else [],
        sessions=sessions,
        ips=ips,
        user_agents=user_agents,
        referrers=referrers,
        is_end=bool(is_quiet) and len(rows) < limit,
    )


def read_at(positions: Sequence[Position], *, since_ms: int) -> LogSlice:
    """Return the events at these positions that still exist, in the log's order.

    About 20 us per event and partition.

    since_ms: none of these events was received before this time.
    """
    since = datetime.fromtimestamp(since_ms / 1000, UTC)
    parameters = {
        "since": since - timedelta(seconds=1),
        "xids": [str(each.xid) for each in positions],
        "seqs": [each.seq for each in positions],
    }
    return _slice(fetch(_READ_AT, parameters), limit=len(positions) + 1)


def read_step(step: Step) -> LogSlice:
    """Return the events that a recorded step took."""
    return read(
        after=Position(step.from_xid, step.from_seq),
        until=Position(step.to_xid, step.to_seq),
        since_ms=step.stream_ms,
        limit=step.n_events,
        shard=step.shard,
        shards=settings.SHARDS,
    )


def actor_steps(actor: str, shard: int) -> list[tuple[Position, int]]:
    """Return the positions of an actor's events, each with the number of its step.

    Events that no recorded step took are left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ACTOR_STEPS, {"actor": actor, "shard": shard})
        return [(Position(xid, seq), number) for xid, seq, number in cursor.fetchall()]


def count_of(actor: str) -> int:
    """Return the number of events of an actor in the log."""
    return int(fetch("SELECT count(*) FROM recommender_event WHERE actor = %s", [actor])[0])


def erase(actor: str) -> list[Position]:
    """Delete an actor's events and their keys, and return their positions.

    It deletes events that are not learned yet too. About 10 us an event.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ERASE, [actor])
        return [Position(xid, seq) for xid, seq in cursor.fetchall()]


def last_seq() -> int:
    """Return the highest number given to an event so far, committed or not."""
    last, is_called = fetch("SELECT last_value, is_called FROM recommender_event_seq", [])
    return int(last) if is_called else 0


def shard_of(actor: str, shards: int) -> int:
    """Return the shard that learns from an actor."""
    return _bucket(actor) % shards


def _bucket(actor: str) -> int:
    return zlib.crc32(actor.encode()) % N_BUCKETS


def _texts(column: str | None) -> list[str | None] | None:
    """Split a column of texts, with None for empty ones, or return None if all are."""
    if not column or not column.strip("\n"):
        return None
    return [text or None for text in column.split("\n")]


def _to_unix_ms(postgres_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return postgres_us.astype(np.int64) // 1000 + POSTGRES_EPOCH_MS


def nullable(values: list[Any]) -> list[Any] | None:
    """Return the values, or None if all of them are None.

    A list of only None has no type to send. A null array unnests to the same number of nulls.
    """
    return values if any(value is not None for value in values) else None


def fetch(query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> tuple[Any, ...]:
    """Return one row of a prepared statement.

    It is read in binary, not with Django's text-only cursor.
    """
    return next(iter(fetch_all(query, parameters)), ())


def fetch_all(query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return all rows of a prepared statement, read in binary."""
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(query, parameters, prepare=True, binary=True)
        return cursor.fetchall()
