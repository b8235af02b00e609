"""Look up events of the log for people.

They are events at known positions, of an actor, on an item, or just before a position. Each lookup is one statement
that uses an index and has its own limit. So a page costs the same however large the log is. The learner and the web
processes do not need this module: they use `recommender.log.event_log`. All SQL of these lookups is here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection

from recommender import ids
from recommender.core.events import network_of
from recommender.core.vocabulary import Kind
from recommender.log.buckets import IS_MOVED
from recommender.log.event_log import PARTITION_SLACK, Position, fetch_all
from recommender.log.partitions import partitions

MAX_ACTORS = 1_000  # in one lookup
AROUND_EVENTS = 100_000  # events of the log between the two positions that `count_around` may read
_ALL_BITS = 2**64 - 1
BESIDE_EVENTS = 20_000  # and the events it reads before and after them


@dataclass(frozen=True, slots=True)
class Act:
    """An event of the log with its verdict.

    `verdict` is None if the event was simply admitted. `ip` and `user_agent` are as much as PRIVACY keeps: of an
    address, all of it, its network, or None. The keys are hashes of the whole, and 0 if the site sent none. So acts
    can be compared even if the texts are not kept.
    """

    actor: str
    item: str
    kind: int
    received_ms: int
    occurred_ms: int
    xid: int
    seq: int
    ip: str | None
    user_agent: str | None
    session: str | None
    verdict: int | None
    was_held: bool | None
    reasons: int | None
    network_key: int = 0
    agent_key: int = 0

    @property
    def network(self) -> str | None:
        """Return the /24 or /48, or None if it is not kept or not known."""
        return network_of(self.ip)


@dataclass(frozen=True, slots=True)
class Count:
    """The number of events with one verdict in the time slot that begins at `at_ms`."""

    at_ms: int
    verdict: int
    n: int


@dataclass(frozen=True, slots=True)
class ItemBar:
    """An item's events in one bar of a time chart.

    place: the number of the bar. out: quarantined. waiting: not learned yet.
    """

    place: int
    admitted: int
    held: int
    out: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ItemBars:
    """The newest events on an item, in bars of `width_ms` that begin at `since_ms`.

    Bars without events are left out.
    """

    since_ms: float
    width_ms: float
    bars: list[ItemBar]


_ACT = """e.actor, e.item, e.kind, (extract(epoch FROM e.received_at) * 1000)::bigint,
          (extract(epoch FROM coalesce(e.occurred_at, e.received_at)) * 1000)::bigint, e.xid::text::bigint, e.seq,
          e.ip, e.user_agent, e.session"""
_KEYS = "e.network, e.agent"
_SAID = "LEFT JOIN recommender_eventverdict AS v ON v.seq = e.seq AND v.xid = e.xid::text::bigint"

# Uses the index (xid, seq).
_AT = f"""
SELECT {_ACT}, NULL, NULL, NULL, {_KEYS} FROM recommender_event AS e
WHERE e.received_at >= %(since)s
  AND (e.xid, e.seq) IN (SELECT x::xid8, s FROM unnest(%(xids)s::text[], %(seqs)s::bigint[]) AS at(x, s))
ORDER BY e.xid, e.seq
"""

# Uses the index (actor, seq) of each day, newest first.
_NEWEST_OF = f"""
SELECT {_ACT}, v.verdict, v.was_held, v.reasons, {_KEYS}
FROM unnest(%(actors)s::text[]) AS a(actor) CROSS JOIN LATERAL (
    SELECT * FROM recommender_event WHERE actor = a.actor COLLATE "C" ORDER BY seq DESC LIMIT %(each)s
) AS e {_SAID}
ORDER BY e.actor, e.seq DESC
"""

# Uses the index (xid, seq) backwards, over one day at most.
_JUST_BEFORE = f"""
SELECT {_ACT}, NULL, NULL, NULL, {_KEYS} FROM recommender_event AS e
WHERE (e.xid, e.seq) < (%(xid)s::text::xid8, %(seq)s) AND e.received_at BETWEEN %(since)s AND %(until)s
ORDER BY e.xid DESC, e.seq DESC LIMIT %(limit)s
"""

# Uses the same index. Reads the events between two positions, and a number of events before and after. The limits
# bound its cost.
_AROUND = f"""
WITH inside AS MATERIALIZED (
    SELECT received_at, item, xid, seq FROM recommender_event
    WHERE received_at BETWEEN %(since)s AND %(until)s
      AND (xid, seq) >= (%(first_xid)s::text::xid8, 0) AND (xid, seq) < (%(after_xid)s::text::xid8, 0)
    ORDER BY xid, seq LIMIT %(inside)s
), around AS (
    SELECT * FROM inside
    UNION ALL (
        SELECT received_at, item, xid, seq FROM recommender_event
        WHERE received_at BETWEEN %(since)s AND %(until)s AND (xid, seq) < (%(first_xid)s::text::xid8, 0)
        ORDER BY xid DESC, seq DESC LIMIT %(beside)s
    ) UNION ALL (
        SELECT received_at, item, xid, seq FROM recommender_event
        WHERE received_at BETWEEN %(since)s AND %(until)s AND (xid, seq) >= (%(after_xid)s::text::xid8, 0)
        ORDER BY xid, seq LIMIT %(beside)s
    )
)
SELECT (SELECT count(*) FROM inside), NULL, 0
UNION ALL
SELECT (extract(epoch FROM e.received_at) * 1000)::bigint / %(slot_ms)s AS slot, coalesce(v.verdict, 0), count(*)
FROM around AS e {_SAID}
WHERE e.item = ANY(%(items)s::text[]) AND e.received_at BETWEEN %(from)s AND %(to)s
GROUP BY 1, 2
"""

# Reads back from the newest by the index on positions, and only then limits by time. The other way round, a log that
# has been quiet for hours would be read as a whole. An event that no learner has taken yet is after its learner's
# position. With several shards, events of old web processes are left out, because SQL cannot tell whose they are.
_NEWEST_ON = f"""
WITH newest AS MATERIALIZED (
    SELECT * FROM (
        SELECT xid, seq, received_at, bucket, kind, item, {IS_MOVED} AS is_moved
        FROM recommender_event
        ORDER BY xid DESC, seq DESC LIMIT %(limit)s
    ) AS last
    WHERE received_at >= now() - %(back)s * interval '1 second'
), reach AS (
    SELECT min(received_at) AS since, greatest(now() - min(received_at), interval '1 minute') / %(bars)s AS width
    FROM newest
), theirs AS (
    SELECT e.received_at, v.verdict,
           l.shard IS NULL OR (e.xid::text::bigint, e.seq) > (l.xid, l.seq) AS is_waiting
    FROM newest AS e
    LEFT JOIN recommender_learner AS l ON l.shard = e.bucket %% %(shards)s
    LEFT JOIN recommender_eventverdict AS v ON v.seq = e.seq AND v.xid = e.xid::text::bigint
    WHERE e.item = %(item)s AND e.kind <> %(exposure)s AND (%(shards)s = 1 OR NOT e.is_moved)
)
SELECT extract(epoch FROM r.since) * 1000, extract(epoch FROM r.width) * 1000,
       floor(extract(epoch FROM t.received_at - r.since) / extract(epoch FROM r.width))::int AS bar,
       count(*) FILTER (WHERE NOT is_waiting AND coalesce(verdict, 0) = 0),
       count(*) FILTER (WHERE NOT is_waiting AND verdict = 1),
       count(*) FILTER (WHERE NOT is_waiting AND verdict = 2),
       count(*) FILTER (WHERE is_waiting)
FROM reach AS r LEFT JOIN theirs AS t ON true
GROUP BY 1, 2, 3 ORDER BY 3
"""


def acts_at(positions: Sequence[Position], *, since_ms: int) -> list[Act]:
    """Return the events at these positions, in the log's order.

    Those that no longer exist are left out. Their verdicts are not looked up. About 20 us per event and partition.

    since_ms: none of these events was received before this time.
    """
    parameters = {
        "since": datetime.fromtimestamp(since_ms / 1000, UTC) - timedelta(seconds=1),
        "xids": [str(each.xid) for each in positions],
        "seqs": [each.seq for each in positions],
    }
    return [_act(row) for row in fetch_all(_AT, parameters)]


def newest_of(actors: Sequence[str], each: int) -> dict[str, list[Act]]:
    """Return the newest events of actors, newest first, at most `each` per actor.

    Only the first MAX_ACTORS are looked up. An actor that is not in the log has no events. About 0.1 ms an actor and
    5 us an event.
    """
    found: dict[str, list[Act]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_OF, {"actors": list(actors[:MAX_ACTORS]), "each": each})
        for row in cursor.fetchall():
            found[row[0]].append(_act(row))
    return found


def just_before(position: Position, *, at_ms: int, limit: int) -> list[Act]:
    """Return the last events before a position, newest first.

    at_ms: the time at which the event at this position was received.
    """
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            _JUST_BEFORE,
            {
                "xid": position.xid,
                "seq": position.seq,
                "since": at - PARTITION_SLACK,
                "until": at + timedelta(minutes=1),
                "limit": limit,
            },
        )
        return [_act(row) for row in cursor.fetchall()]


def count_around(
    items: Sequence[str],
    *,
    first: Position,
    last: Position,
    from_ms: int,
    to_ms: int,
    slot_ms: int,
    at_most: int = AROUND_EVENTS,
) -> list[Count] | None:
    """Count the events on items in time slots, oldest first.

    The slots are those from `from_ms` to `to_ms`. Return None if more than `at_most` events lie between the two
    positions. About 2 us per event read.

    first, last: positions of events from about that time. The log is read between them, and for BESIDE_EVENTS before
    and after.
    """
    begin, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (from_ms, to_ms))
    parameters: dict[str, Any] = {
        "items": list(items),
        "first_xid": first.xid,
        "after_xid": last.xid + 1,
        "since": begin - PARTITION_SLACK,
        "until": end + PARTITION_SLACK,
        "from": begin,
        "to": end,
        "slot_ms": slot_ms,
        "inside": at_most + 1,
        "beside": BESIDE_EVENTS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_AROUND, parameters)
        rows = cursor.fetchall()
    n_inside = next(n for n, verdict, _ in rows if verdict is None)
    if n_inside > at_most:
        return None
    return sorted(
        (Count(slot * slot_ms, verdict, n) for slot, verdict, n in rows if verdict is not None),
        key=lambda each: (each.at_ms, each.verdict),
    )


def count_newest_on(*, item: str, looked_at: int, back_s: int, n_bars: int, shards: int) -> ItemBars | None:
    """Count an item's events among the newest of the log, in bars of time.

    Return None if no event is new enough. It uses the index (xid, seq) backwards, because there is no index by item.
    About 2 us per event read, however large the log is.

    looked_at: the largest number of events to read.
    back_s: the greatest age of an event.
    """
    parameters: dict[str, float | str] = {
        "back": back_s,
        "limit": looked_at,
        "bars": n_bars,
        "shards": shards,
        "item": item,
        "exposure": int(Kind.EXPOSURE),
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_ON, parameters)
        rows = cursor.fetchall()
    if not rows or rows[0][0] is None:
        return None
    since_ms, width_ms, *_ = rows[0]
    bars = [ItemBar(*bar) for _, _, *bar in rows if bar[0] is not None]
    return ItemBars(float(since_ms), float(width_ms), bars)


def _act(row: Sequence[Any]) -> Act:
    """Make an act of a row. A row of 0.1.0 has no keys, and the whole texts."""
    act = Act(*row[:-2])
    network, agent = row[-2:]
    encoder = ids.encoder()
    return replace(
        act,
        network_key=encoder.address_key(act.ip) if network is None else network & _ALL_BITS,
        agent_key=encoder.context_key(act.user_agent) if agent is None else agent & _ALL_BITS,
    )


def oldest_day() -> date | None:
    """Return the first day of the log, or None if it has no partition."""
    return min(partitions(), default=None)
