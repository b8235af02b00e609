"""Count and look up verdicts for people.

    by (shard, ordinal)    ──> keep_newest, count_stopped, count_held: the newest ones
    by seq                 ──> read_at, sum_up: the verdicts on events now
    by (shard, revised_in) ──> list_revised: the events with a new verdict

Each lookup is one statement that uses an index and has its own limit. Nothing here writes or locks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection

from recommender.ids import MAX_ROW_ID
from recommender.log import event_log

PART = 50_000  # revised verdicts in one statement

# Finds the number from which on there are `limit` verdicts, by an index-only scan.
_NEWEST = """
SELECT ordinal FROM recommender_eventverdict WHERE shard = %(shard)s AND ordinal >= %(ordinal)s
ORDER BY ordinal DESC OFFSET %(limit)s LIMIT 1
"""
# Groups by step first: there are fewer steps than verdicts, and nothing is sorted.
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
# The limits keep the planner from reading the whole table for many events. It returns columns, because carrying tens
# of thousands of rows over would take longer than finding them.
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
    """The events with one verdict, of steps in the minute that begins at `at_ms`."""

    at_ms: int
    verdict: int
    n: int


@dataclass(frozen=True, slots=True)
class VerdictSums:
    """Sums over some events.

    They are the number of events with each verdict, and the bits of the reasons.

    reasons: of all these events. reasons_against: of the quarantined ones.
    """

    n_held: int
    n_quarantined: int
    n_admitted: int
    reasons: int
    reasons_against: int


def keep_newest(*, shard: int, ordinal: int, limit: int) -> int:
    """Return the number in the fold from which on about `limit` verdicts remain.

    It is `ordinal`, or a later number if more than `limit` would remain. It reads at most `limit` entries of the
    index (shard, ordinal).
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, {"shard": shard, "ordinal": ordinal, "limit": limit})
        row = cursor.fetchone()
    return int(row[0]) if row else ordinal


def count_stopped(*, shard: int, after_step: int, since_ms: int, ordinal: int, reasons: int) -> list[StoppedCount]:
    """Count events once held or now quarantined, by minute and newest verdict.

    Only events with one of these reasons are counted, of steps after `after_step` and since `since_ms`. It reads the
    verdicts from `ordinal` on by their index. `keep_newest` bounds their number.
    """
    span = {"shard": shard, "step": after_step, "since": since_ms, "ordinal": ordinal, "reasons": reasons}
    with connection.cursor() as cursor:
        cursor.execute(_STOPPED, span)
        return [StoppedCount(int(minute), verdict, int(n)) for minute, verdict, n in cursor.fetchall()]


def count_held(*, shard: int, ordinal: int, limit: int) -> int:
    """Count the held events from a number in the fold on, up to `limit`.

    It uses the index (shard, ordinal).
    """
    with connection.cursor() as cursor:
        cursor.execute(_HELD, {"shard": shard, "ordinal": ordinal, "limit": limit})
        return int(cursor.fetchone()[0])


def read_at(*, xids: list[int], seqs: list[int]) -> list[int | None]:
    """Return the verdicts on the events at these positions, in the order given.

    An event without a verdict gives None. It looks up the index on seq once per event.
    """
    (found,) = event_log.fetch(_AT, [xids, seqs])
    return list(found)


def sum_up(*, shards: list[int], xids: list[int], seqs: list[int]) -> VerdictSums:
    """Sum up the verdicts on the events at these positions.

    It looks up the index on seq once per event.

    shards: the shard that learned each event.
    """
    return VerdictSums(*event_log.fetch(_SUM_UP, [shards, xids, seqs]))


def list_revised(*, shard: int, after_step: int, to_step: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the xids and seqs of events whose newest verdict is of certain steps.

    These are the steps after `after_step`, up to and including `to_step`. Each part has at most PART events. It uses
    the index (shard, revised_in).
    """
    after, is_more = [after_step, MAX_ROW_ID], True
    while is_more:
        xids, seqs, *after = event_log.fetch(_REVISED, [shard, *after, to_step, PART])
        if xids:
            yield xids, seqs
        is_more = len(xids) == PART
