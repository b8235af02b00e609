"""Figures over the recorded steps of a while, for people: events a minute, events a second, quality over time.

    Step, by (shard, number)       ──> count_by_minute, count_lately
    Watched, by (shard, stream_ms) ──> list_points, at most one a bucket ──> the last Step of each, by number

Steps have no index by time, so whoever asks by time names a step to begin after; `Watched` has such an index. Nothing
here writes or locks. Times are stream time in ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

_BY_MINUTE = """
SELECT stream_ms / 60000 * 60000 AS minute, sum(n_events)
FROM recommender_step WHERE shard = %(shard)s AND number > %(step)s AND stream_ms >= %(since)s
GROUP BY minute
"""
_LATELY = """
SELECT coalesce(sum(n_events) FILTER (WHERE stream_ms > %(now)s), 0), coalesce(sum(n_events), 0)
FROM recommender_step WHERE shard = %(shard)s AND number > %(step)s AND stream_ms > %(lately)s
"""
# The quality of a bucket over all shards, by the predictions it stands on; and up to where the log was read by then.
_POINTS = """
WITH figures AS (
    SELECT (stream_ms - %(from)s) / %(width)s AS bucket, shard, max(stream_ms) AS stream_ms, max(step) AS step,
           sum(hit_rate * n_predictions) AS hits, sum(n_predictions) AS n,
           sum(trusted_hit_rate * n_trusted) AS trusted_hits, sum(n_trusted) AS n_trusted,
           sum(canary_hit_rate * n_canary) AS canary_hits, sum(n_canary) AS n_canary
    FROM recommender_watched
    WHERE shard = ANY(%(shards)s) AND stream_ms >= %(from)s AND stream_ms < %(to)s
    GROUP BY bucket, shard
)
SELECT max(f.stream_ms), min(f.step), max(f.step), max(s.to_seq),
       sum(hits) / nullif(sum(n), 0), sum(trusted_hits) / nullif(sum(n_trusted), 0),
       sum(canary_hits) / nullif(sum(n_canary), 0)
FROM figures AS f
LEFT JOIN LATERAL (
    SELECT to_seq FROM recommender_step WHERE (shard, number) = (f.shard, f.step)
) AS s ON true
GROUP BY f.bucket ORDER BY f.bucket
"""


@dataclass(frozen=True, slots=True)
class QualityPoint:
    """The quality in a bucket of time. `at_ms`: of its last figures; first_step, last_step: of its figures.

    `to_seq`: the log's number up to which was learned by then, None where the record of steps no longer says. A rate
    is None where nothing was predicted."""

    at_ms: int
    first_step: int
    last_step: int
    to_seq: int | None
    hit_rate: float | None
    trusted_hit_rate: float | None
    canary_hit_rate: float | None


def count_by_minute(*, shard: int, after_step: int, since_ms: int) -> dict[int, int]:
    """Count the events learned in each minute, by when it began; of steps after that one and since that time. Reads
    these steps by their number, at most five a second."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_MINUTE, {"shard": shard, "step": after_step, "since": since_ms})
        return {int(minute): int(n_events) for minute, n_events in cursor.fetchall()}


def count_lately(*, shard: int, after_step: int, now_ms: int, lately_ms: int) -> tuple[int, int]:
    """Count the events learned after `now_ms`, and after `lately_ms`, which is earlier. Reads the steps after that
    one by their number, at most five a second."""
    with connection.cursor() as cursor:
        cursor.execute(_LATELY, {"shard": shard, "step": after_step, "now": now_ms, "lately": lately_ms})
        n_now, n_lately = cursor.fetchone()
    return int(n_now), int(n_lately)


def list_points(*, shards: Sequence[int], from_ms: int, to_ms: int, width_ms: int) -> list[QualityPoint]:
    """List the quality from `from_ms` on and before `to_ms`, over all these shards, one point a bucket of `width_ms`.

    Reads `Watched` by (shard, stream_ms), some 6,000 rows a month and shard since it is thinned, and one step by its
    number for each point and shard."""
    with connection.cursor() as cursor:
        cursor.execute(_POINTS, {"from": from_ms, "to": to_ms, "width": width_ms, "shards": list(shards)})
        return [QualityPoint(*row) for row in cursor.fetchall()]
