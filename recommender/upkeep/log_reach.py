"""The reach of the log, compared with the states that need it.

A learner is restored from its active checkpoint and the log since. If retention dropped a partition that the
checkpoint does not cover, the learner would stop for good, and acknowledged events would be lost. So these partitions
are kept beyond retention, and people are warned before that day: a learner was frozen or stopped for weeks.
"""

from dataclasses import dataclass
from datetime import date

from django.conf import settings
from django.db import connection

from recommender.log.buckets import IS_MOVED
from recommender.log.partitions import partitions

DAY_S = 86_400.0

# An event of an old web process may belong to any shard (recommender.log.buckets), so it counts for all.
_OLDEST_NEEDED = f"""
SELECT l.shard, extract(epoch FROM now() - e.received_at)::float8, (e.received_at AT TIME ZONE 'UTC')::date
FROM recommender_learner AS l JOIN recommender_checkpoint AS c ON c.id = l.checkpoint_id
CROSS JOIN LATERAL (
    SELECT received_at FROM recommender_event
    WHERE (xid, seq) > (c.xid::text::xid8, c.seq) AND (bucket %% %(shards)s = l.shard OR {IS_MOVED})
      AND received_at >= to_timestamp(greatest(0, c.stream_ms / 1000 - %(slack_s)s))
    ORDER BY xid, seq LIMIT 1
) AS e
ORDER BY 2 DESC LIMIT 1
"""
_CHECKPOINTS = """
SELECT count(*) FROM recommender_checkpoint WHERE stream_ms > 0 AND stream_ms < extract(epoch FROM %s::date) * 1000
"""
_TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"


@dataclass(frozen=True, slots=True)
class LogReach:
    """The reach of the log, in days.

    kept_days: age of the oldest partition.
    ahead_days: days for which partitions are made already, today not counted.
    shard, needed_days: the learner whose active checkpoint needs the oldest event, and that event's age. None if no
    checkpoint needs any.
    n_beyond: kept checkpoints from before the log begins. Nothing can be folded again from them.
    """

    kept_days: int
    ahead_days: int
    shard: int | None
    needed_days: float | None
    n_beyond: int

    @property
    def days_left(self) -> float | None:
        """Return the days until a needed event is older than retention."""
        return None if self.needed_days is None else settings.RETENTION_DAYS - self.needed_days


def oldest_needed_day() -> date | None:
    """Return the UTC day of the oldest event that a learner needs, if any."""
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_NEEDED, {"shards": settings.SHARDS, "slack_s": DAY_S})
        _, _, day = cursor.fetchone() or (None, None, None)
    return day


def read_reach() -> LogReach:
    """Return how far the log reaches back. Some ms."""
    days = partitions()
    with connection.cursor() as cursor:
        cursor.execute(_TODAY)
        (today,) = cursor.fetchone()
        cursor.execute(_OLDEST_NEEDED, {"shards": settings.SHARDS, "slack_s": DAY_S})
        shard, needed_s, _ = cursor.fetchone() or (None, None, None)
        oldest = min(days, default=today)
        cursor.execute(_CHECKPOINTS, [oldest])
        (n_beyond,) = cursor.fetchone()
    return LogReach(
        kept_days=(today - oldest).days,
        ahead_days=(max(days, default=today) - today).days,
        shard=shard,
        needed_days=None if needed_s is None else needed_s / DAY_S,
        n_beyond=n_beyond,
    )
