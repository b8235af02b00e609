"""The daily partitions of the event log.

    housekeeping ──> ensure_partitions ──> yesterday ... today ... a week from now   (append: where none was made)
                 ──> drop_before, or batch.collect.archive and then drop_partition ──> their event keys are forgotten

A partition holds one UTC day of `received_at`. Partitions are made ahead and dropped whole after retention. Dropping
a day costs the same however many rows it has, while a DELETE would leave as many dead rows. The keys of event ids are
in a separate table with their day. That table is not partitioned, so its rows are deleted in chunks.
"""

from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

PARTITIONS_AHEAD = 7  # days
PRUNE_CHUNK = 20_000  # event keys deleted in one statement

_NOT_IDENTIFIED = """
SELECT c.oid::regclass::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'recommender_event'::regclass AND c.relreplident <> 'f' ORDER BY 1
"""


def ensure_partitions(*, today: date | None = None) -> None:
    """Create the missing partitions from yesterday to a week from now.

    Those that processes of 0.1.0 made get the replica identity that they lack.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        if today is None:
            cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
            (today,) = cursor.fetchone()
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('recommender_event partitions'))")
        wanted = {today + timedelta(days=offset) for offset in range(-1, PARTITIONS_AHEAD + 1)}
        for day in sorted(wanted.difference(partitions())):
            cursor.execute(
                f"CREATE TABLE {partition(day)} PARTITION OF recommender_event"
                f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
            )
        # A partition does not take this from its table. Without it, a publication would refuse every erasure.
        cursor.execute(_NOT_IDENTIFIED)
        for (name,) in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL")


def partitions() -> list[date]:
    """Return the days that have a partition, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'recommender_event'::regclass"
        )
        names = [name for (name,) in cursor.fetchall()]
    return sorted(datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date() for name in names)


def drop_before(day: date) -> int:
    """Drop the partitions of days before `day`, and return their number.

    Their event keys are forgotten too.
    """
    days = [known for known in partitions() if known < day]
    for old in days:
        drop_partition(old)
    forget_keys_before(day)
    return len(days)


def drop_partition(day: date) -> None:
    """Drop the partition of a day."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partition(day)}")


def forget_keys_before(day: date) -> None:
    """Forget the keys of events received before a day."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "DELETE FROM recommender_event_key WHERE ctid = ANY(ARRAY("
                "SELECT ctid FROM recommender_event_key WHERE received_on < %s LIMIT %s FOR UPDATE SKIP LOCKED))",
                [day, PRUNE_CHUNK],
            )
            if cursor.rowcount < PRUNE_CHUNK:
                return


def partition(day: date) -> str:
    """Return the name of a day's partition."""
    return f"recommender_event_{day:%Y%m%d}"
