"""Figures over recorded steps, for people.

    Step, by (shard, number)       ──> count_by_minute, count_lately
    Watched, by (shard, stream_ms) ──> list_points, at most one a bucket ──> the last Step of each, by number

They are the events learned per minute, the events learned lately, and the quality over time. Steps have no index by
time, so a caller that asks by time also names a step to begin after. `Watched` has such an index. Nothing here writes
or locks. Times are stream time in ms.
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
# The quality of a bucket is over all shards, weighted by the number of predictions. `to_seq` is the number up to
# which the log was read by then.
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
    """The quality in a bucket of time.

    at_ms: the time of its last figures.
    first_step, last_step: the steps of its first and last figures.
    to_seq: the log's number up to which was learned by then, None if the step is no longer recorded.
    A rate is None if nothing was predicted.
    """

    at_ms: int
    first_step: int
    last_step: int
    to_seq: int | None
    hit_rate: float | None
    trusted_hit_rate: float | None
    canary_hit_rate: float | None


def count_by_minute(*, shard: int, after_step: int, since_ms: int) -> dict[int, int]:
    """Count the events learned in each minute, by the minute's beginning.

    It counts steps after `after_step` and since `since_ms`. It reads these steps by their number, at most five a
    second.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BY_MINUTE, {"shard": shard, "step": after_step, "since": since_ms})
        return {int(minute): int(n_events) for minute, n_events in cursor.fetchall()}


def count_lately(*, shard: int, after_step: int, now_ms: int, lately_ms: int) -> tuple[int, int]:
    """Count the events learned after `now_ms`, and after the earlier `lately_ms`.

    It reads the steps after `after_step` by their number, at most five a second.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LATELY, {"shard": shard, "step": after_step, "now": now_ms, "lately": lately_ms})
        n_now, n_lately = cursor.fetchone()
    return int(n_now), int(n_lately)


def list_points(*, shards: Sequence[int], from_ms: int, to_ms: int, width_ms: int) -> list[QualityPoint]:
    """Return the quality over these shards, one point per bucket of `width_ms`.

    The points cover `from_ms` up to but not including `to_ms`. It reads `Watched` by (shard, stream_ms): thinned,
    this is some 6,000 rows per month and shard. It also reads one step by its number for each point and shard.
    """
    with connection.cursor() as cursor:
        cursor.execute(_POINTS, {"from": from_ms, "to": to_ms, "width": width_ms, "shards": list(shards)})
        return [QualityPoint(*row) for row in cursor.fetchall()]
