"""Read events in commit order, as the columns that the learner needs.

    read(after=position) ──> the next events below every transaction still open ──> LogSlice

Only keys, flags, times, kinds, countries and the names of items are read. Each event is packed into ROW bytes by the
server. The names of items come as lines of one text, which costs less than sending each name once.

Events of version 0.1.0 have no keys (is_crawler is NULL). Their texts are read too, and turned into the same keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommender import ids
from recommender.core.events import EventBatch, country_codes, joined
from recommender.log.buckets import IS_MOVED, buckets_in, buckets_of
from recommender.log.positions import PARTITION_SLACK, READABLE_BEFORE, Position
from recommender.log.statements import fetch
from recommender.models import Step

POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01, the zero of timestamptz

# the columns of an EventBatch that are keys, and their columns here
_COLUMNS = {
    "actor": "actor_key",
    "item": "item_key",
    "session": "session_key",
    "prefix": "network",
    "agent": "agent",
    "referrer": "referrer_key",
}
_ROW = np.dtype(
    [
        *((name, ">i8") for name in ("xid", "seq", "received", "occurred")),
        *((name, ">u8") for name in _COLUMNS.values()),
        ("facts", ">i4"),
        ("country", "u1", 2),
    ]
)
# the fields of `facts`
_KIND, _BUCKET, _CRAWLER, _OLD, _MOVED = 0xFF, 8, 1 << 16, 1 << 17, 1 << 18
_TEXTS = 6  # of an old event

_PACK = f"""
SELECT string_agg(xid8send(xid) || int8send(seq) || timestamptz_send(received_at)
                  || timestamptz_send(coalesce(occurred_at, received_at))
                  || {" || ".join(f"int8send(coalesce({name}, 0))" for name in _COLUMNS.values())}
                  || int4send(kind + (bucket::integer << {_BUCKET})
                              + CASE is_crawler WHEN false THEN 0 WHEN true THEN {_CRAWLER}
                                     ELSE {_OLD} + CASE WHEN {{moved}} THEN {_MOVED} ELSE 0 END END)
                  || CASE WHEN octet_length(country) = 2 THEN textsend(country) ELSE '\\x0000'::bytea END, ''::bytea),
       string_agg(item, E'\\n'),
       string_agg(concat_ws(E'\\n', actor, item, coalesce(session, ''), coalesce(ip, ''), coalesce(user_agent, ''),
                            coalesce(referrer, '')), E'\\n') FILTER (WHERE is_crawler IS NULL),
       (SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) FROM pg_current_snapshot() s)
FROM ({{rows}}) AS e
"""


def _read(bound: str, *, of_shard: bool) -> str:
    mine = f"AND (bucket = ANY(%(buckets)s::smallint[]) OR {IS_MOVED})" if of_shard else ""
    rows = f"""
    SELECT * FROM recommender_event
    WHERE received_at >= %(since)s AND (xid, seq) > (%(after_xid)s::text::xid8, %(after_seq)s) AND {bound} {mine}
    ORDER BY xid, seq LIMIT %(limit)s"""
    return _PACK.format(rows=rows, moved=IS_MOVED)


_NEW, _KNOWN = f"xid < {READABLE_BEFORE}", "(xid, seq) <= (%(to_xid)s::text::xid8, %(to_seq)s)"
_READ = {
    (is_new, of_shard): _read(_NEW if is_new else _KNOWN, of_shard=of_shard)
    for is_new in (False, True)
    for of_shard in (False, True)
}
_READ_AT = _PACK.format(
    rows="""
    SELECT * FROM recommender_event
    WHERE received_at >= %(since)s
      AND (xid, seq) IN (SELECT x::xid8, s FROM unnest(%(xids)b::text[], %(seqs)b::bigint[]) AS at(x, s))
    ORDER BY xid, seq""",
    moved=IS_MOVED,
)


@dataclass(frozen=True, slots=True)
class LogSlice:
    """Consecutive events of the log as columns of n.

    bucket: int8, see `recommender.log.buckets`.
    batch: the columns that a Pipeline learns from, in this order.
    is_end: no later event was visible, and no transaction was open.
    """

    xid: NDArray[np.int64]
    seq: NDArray[np.int64]
    bucket: NDArray[np.int8]
    batch: EventBatch
    is_end: bool

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def end(self) -> Position:
        return Position(int(self.xid[-1]), int(self.seq[-1]))

    @property
    def received_ms(self) -> NDArray[np.int64]:
        return self.batch.received_ms

    @property
    def occurred_ms(self) -> NDArray[np.int64]:
        return self.batch.occurred_ms

    @property
    def items(self) -> Sequence[str]:
        """Return the items' ids as text, one an event."""
        return self.batch.item_names

    def take(self, rows: NDArray[np.int64]) -> "LogSlice":
        """Return the events of these rows, in the order given."""
        return LogSlice(self.xid[rows], self.seq[rows], self.bucket[rows], self.batch.take(rows), self.is_end)


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
    if until is not None and until <= after:
        limit = 0
    parameters: dict[str, Any] = {"since": _since(since_ms), "buckets": buckets_in(shard, shards)}
    if until is not None:
        parameters |= {"to_xid": until.xid, "to_seq": until.seq}
    query = _READ[until is None, shards > 1]
    parts: list[LogSlice] = []
    left, is_more = limit, True
    while is_more:
        parameters |= {"after_xid": after.xid, "after_seq": after.seq, "limit": left}
        part, is_moved = _slice(fetch(query, parameters), left)
        if len(part):
            after = part.end
        is_mine = ~is_moved | (part.bucket % shards == shard)
        is_more = len(part) == left and not is_mine.all()  # events of other shards filled places
        part = part if is_mine.all() else part.take(np.flatnonzero(is_mine))
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else _joined(parts)


def read_at(positions: Sequence[Position], *, since_ms: int) -> LogSlice:
    """Return the events at these positions that still exist, in the log's order.

    About 20 us per event and partition.

    since_ms: none of these events was received before this time.
    """
    parameters = {
        "since": datetime.fromtimestamp(since_ms / 1000, UTC) - timedelta(seconds=1),
        "xids": [str(each.xid) for each in positions],
        "seqs": [each.seq for each in positions],
    }
    return _slice(fetch(_READ_AT, parameters), limit=len(positions) + 1)[0]


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


def _since(stream_ms: int) -> datetime:
    if not stream_ms:
        return datetime(2000, 1, 1, tzinfo=UTC)
    return datetime.fromtimestamp(stream_ms / 1000, UTC) - PARTITION_SLACK


def _slice(fetched: tuple[Any, ...], limit: int) -> tuple[LogSlice, NDArray[np.bool_]]:
    """Return the events, and a mask of those that left their stored bucket.

    They belong to the bucket of their key.
    """
    packed, items, old_texts, is_quiet = fetched
    rows = np.frombuffer(packed or b"", _ROW)
    facts = rows["facts"].astype(np.int32)
    batch = EventBatch(
        received_ms=_to_unix_ms(rows["received"]),
        occurred_ms=_to_unix_ms(rows["occurred"]),
        kind=(facts & _KIND).astype(np.int8),
        country=country_codes(rows["country"]),
        item_names=items.split("\n") if rows.size else [],
        is_automated=(facts & _CRAWLER) != 0,
        **{column: rows[name].astype(np.uint64) for column, name in _COLUMNS.items()},
    )
    bucket, is_moved = (facts >> _BUCKET & 0xFF).astype(np.int8), (facts & _MOVED) != 0
    if old_texts is not None:
        old = np.flatnonzero(facts & _OLD)
        batch = _with_keys(batch, old, old_texts.split("\n"))
        bucket = np.where(is_moved, buckets_of(batch.actor), bucket)
    xid, seq = rows["xid"].astype(np.int64), rows["seq"].astype(np.int64)
    return LogSlice(xid, seq, bucket, batch, is_end=bool(is_quiet) and len(rows) < limit), is_moved


def _with_keys(batch: EventBatch, old: NDArray[np.int64], texts: list[str]) -> EventBatch:
    """Return the batch with the keys of events that were stored without any.

    texts: six for each of these events, empty for unknown.
    """
    actors, items, *context = (texts[column::_TEXTS] for column in range(_TEXTS))
    sessions, ips, user_agents, referrers = ([text or None for text in column] for column in context)
    made = ids.encoder().encode(
        received_ms=batch.received_ms[old],
        occurred_ms=batch.occurred_ms[old],
        actors=actors,
        items=items,
        kind=batch.kind[old],
        country=batch.country[old],
        sessions=sessions,
        ips=ips,
        user_agents=user_agents,
        referrers=referrers,
    )
    for name in (*_COLUMNS, "is_automated"):
        getattr(batch, name)[old] = getattr(made, name)
    return batch


def _joined(parts: Sequence[LogSlice]) -> LogSlice:
    return LogSlice(
        np.concatenate([part.xid for part in parts]),
        np.concatenate([part.seq for part in parts]),
        np.concatenate([part.bucket for part in parts]),
        joined([part.batch for part in parts]),
        parts[-1].is_end,
    )


def _to_unix_ms(postgres_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return postgres_us.astype(np.int64) // 1000 + POSTGRES_EPOCH_MS
