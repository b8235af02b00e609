"""Verdicts counted and looked up, for people: by their number in the fold, by their events, by their last word.

    by (shard, ordinal)    ──> keep_newest, count_stopped, count_held: the newest ones
    by seq                 ──> read_at, sum_up: what is said of events now
    by (shard, revised_in) ──> list_revised: whose last word is new

Each is one statement by an index, with a bound of its own. Nothing here writes or locks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection

from recommender.ids import MAX_ROW_ID
from recommender.log import event_log

PART = 50_000  # revised verdicts in one statement

# The number from which on there are so many verdicts: an index-only scan.
_NEWEST = """
SELECT ordinal FROM recommender_eventverdict WHERE shard = %(shard)s AND ordinal >= %(ordinal)s
ORDER BY ordinal DESC OFFSET %(limit)s LIMIT 1
"""
# By step first: there are fewer of them than of verdicts, and nothing is sorted.
_STOPPED = """
SELECT s.stream_ms / 60000 * 60000 AS minute, v.verdict, sum(v.n)
FROM (
    SELECT step, verdict, count(*) AS n FROM recommender_eventverdict
    WHERE shard = %(shard)s AND ordinal >= %(ordinal)s AND (was_held OR verdict > 0) AND reasons & %(reasons)s <> 0
    GROUP BY step, verdict
) AS v
JOIN recommender_step AS s ON s.shard = %(shard)s AND s.number = v.step
WHERE s.number > %(step)s AND s.stream_ms >= %(since)s
GROUP BY minute, v.verdict
"""
_HELD = """
SELECT count(*) FROM (
    SELECT 1 FROM recommender_eventverdict
    WHERE shard = %(shard)s AND ordinal >= %(ordinal)s AND verdict = 1 LIMIT %(limit)s
) AS held
"""
# The limits keep the planner from reading the whole table for many events. Columns, since tens of thousands of rows
# would take longer to carry over than to find.
_AT = """
SELECT coalesce(array_agg(v.verdict ORDER BY t.n), '{}')
FROM unnest(%b::bigint[], %b::bigint[]) WITH ORDINALITY AS t(xid, seq, n)
LEFT JOIN LATERAL (
    SELECT verdict FROM recommender_eventverdict WHERE (xid, seq) = (t.xid, t.seq) LIMIT 1
) AS v ON true
"""
_SUM_UP = """
SELECT count(*) FILTER (WHERE v.verdict = 1), count(*) FILTER (WHERE v.verdict = 2),
       count(*) FILTER (WHERE v.verdict = 0), coalesce(bit_or(v.reasons), 0),
       coalesce(bit_or(v.reasons) FILTER (WHERE v.verdict = 2), 0)
FROM unnest(%b::smallint[], %b::bigint[], %b::bigint[]) AS t(shard, xid, seq)
CROSS JOIN LATERAL (
    SELECT verdict, reasons FROM recommender_eventverdict WHERE (shard, xid, seq) = (t.shard, t.xid, t.seq) LIMIT 1
) AS v
"""
_REVISED = """
WITH part AS MATERIALIZED (
    SELECT xid, seq, revised_in, id FROM recommender_eventverdict
    WHERE shard = %b::smallint AND (revised_in, id) > (%b::bigint, %b::bigint) AND revised_in <= %b::bigint
    ORDER BY revised_in, id LIMIT %b::integer
), last AS (
    SELECT revised_in, id FROM part ORDER BY revised_in DESC, id DESC LIMIT 1
)
SELECT coalesce(array_agg(xid), '{}'), coalesce(array_agg(seq), '{}'), (SELECT revised_in FROM last),
       (SELECT id FROM last)
FROM part
"""


@dataclass(frozen=True, slots=True)
class StoppedCount:
    """So many events with a verdict, of steps in the minute that begins at `at_ms`."""

    at_ms: int
    verdict: int
    n: int


@dataclass(frozen=True, slots=True)
class VerdictSums:
    """Of some events: how many of each verdict; the bits of all reasons, and of those quarantined."""

    n_held: int
    n_quarantined: int
    n_admitted: int
    reasons: int
    reasons_against: int


def keep_newest(*, shard: int, ordinal: int, limit: int) -> int:
    """The number in the fold to count verdicts from, `ordinal` or a later one, so that there are no more than about
    `limit` of them. Reads so many entries of the index (shard, ordinal)."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, {"shard": shard, "ordinal": ordinal, "limit": limit})
        row = cursor.fetchone()
    return int(row[0]) if row else ordinal


def count_stopped(*, shard: int, after_step: int, since_ms: int, ordinal: int, reasons: int) -> list[StoppedCount]:
    """Count what was held or is out for one of these reasons, by minute and last verdict; of steps after that one and
    since that time. Reads the verdicts from `ordinal` on, by their index; `keep_newest` bounds them."""
    span = {"shard": shard, "step": after_step, "since": since_ms, "ordinal": ordinal, "reasons": reasons}
    with connection.cursor() as cursor:
        cursor.execute(_STOPPED, span)
        return [StoppedCount(int(minute), verdict, int(n)) for minute, verdict, n in cursor.fetchall()]


def count_held(*, shard: int, ordinal: int, limit: int) -> int:
    """Count the events that wait, from that number in the fold on, at most `limit`. By the index (shard, ordinal)."""
    with connection.cursor() as cursor:
        cursor.execute(_HELD, {"shard": shard, "ordinal": ordinal, "limit": limit})
        return int(cursor.fetchone()[0])


def read_at(*, xids: list[int], seqs: list[int]) -> list[int | None]:
    """Read what is said of the events at these places in the log, in their order; None where nothing is. One look
    into the index on seq each."""
    (found,) = event_log.fetch(_AT, [xids, seqs])
    return list(found)


def sum_up(*, shards: list[int], xids: list[int], seqs: list[int]) -> VerdictSums:
    """Sum up what is said of the events at these places in the log, each of the shard that learned it. One look into
    the index on seq each."""
    return VerdictSums(*event_log.fetch(_SUM_UP, [shards, xids, seqs]))


def list_revised(*, shard: int, after_step: int, to_step: int) -> Iterator[tuple[list[int], list[int]]]:
    """List where the events stand whose last word was spoken after one step and not after another, as xids and seqs,
    in parts of at most PART. By the index (shard, revised_in)."""
    after, is_more = [after_step, MAX_ROW_ID], True
    while is_more:
        xids, seqs, *after = event_log.fetch(_REVISED, [shard, *after, to_step, PART])
        if xids:
            yield xids, seqs
        is_more = len(xids) == PART
