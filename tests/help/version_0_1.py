"""Append events as a web process of version 0.1.0 does.

The statement is that version's own, as text. Such processes may still run after the database was migrated.
"""

import zlib
from collections.abc import Sequence
from contextlib import contextmanager

from django.db import connection

from recommender.log.event_log import NewEvents, fetch, nullable
from recommender.process_state import forget_all

_COLUMNS = """event_key, bucket, kind, actor, item, occurred_at, session, value, recommendation, position, ip,
              user_agent, referrer, country"""
APPEND = f"""
WITH input AS (
    SELECT * FROM unnest(%b::bytea[], %b::smallint[], %b::smallint[], %b::text[], %b::text[], %b::float8[],
                         %b::text[], %b::float8[], %b::text[], %b::integer[], %b::text[], %b::text[], %b::text[],
                         %b::text[])
    WITH ORDINALITY AS t({_COLUMNS}, n)
), fresh AS (
    INSERT INTO recommender_event_key (key) SELECT event_key FROM input WHERE event_key IS NOT NULL ORDER BY event_key
    ON CONFLICT DO NOTHING RETURNING key
), written AS (
    INSERT INTO recommender_event ({_COLUMNS})
    SELECT event_key, bucket, kind, actor, item, to_timestamp(occurred_at), session, value, recommendation,
           position, ip, user_agent, referrer, country
    FROM input WHERE event_key IS NULL OR event_key IN (SELECT key FROM fresh) ORDER BY n
    RETURNING 1
)
SELECT count(*) FROM written
"""

APPEND_AT = """
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


def old_bucket(actor: str) -> int:
    """Return the bucket that version 0.1.0 gave an actor."""
    return zlib.crc32(actor.encode()) % 64


def append(events: NewEvents) -> int:
    """Write the events whose id is new, and return their number."""
    columns = [
        *(events.key, [old_bucket(actor) for actor in events.actor], events.kind, events.actor, events.item),
        *(events.occurred_at, events.session, events.value, events.recommendation, events.position),
        *(events.ip, events.user_agent, events.referrer, events.country),
    ]
    return fetch(APPEND, [nullable(column) for column in columns])[0]


def append_at(events: NewEvents, received_at: Sequence[float]) -> None:
    """Write events as if they had come at other times."""
    buckets = [old_bucket(actor) for actor in events.actor]
    texts = [events.session, events.ip, events.user_agent, events.referrer, events.country]
    columns = [list(received_at), buckets, events.kind, events.actor, events.item]
    fetch(APPEND_AT, [*columns, *map(nullable, texts)])


def note_migration(*, days_ago=0.0) -> None:
    """Record a migration after the newest event. Old processes may still run."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE recommender_log_change SET migrated_at = now() - %s * interval '1 day',"
            " old_nodes_until = now() + (7 - %s) * interval '1 day',"
            " xid = coalesce((SELECT xid FROM recommender_event ORDER BY xid DESC LIMIT 1), '1'::xid8)",
            [days_ago, days_ago],
        )
    forget_all()


def note_nothing_yet() -> None:
    """Make every row one from before the migration, as version 0.1.0 sees it."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE recommender_log_change SET xid = '9223372036854775807'::xid8")


def note_no_migration() -> None:
    """Make the database a new installation's again."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE recommender_log_change SET old_nodes_until = migrated_at, xid = '0'::xid8")
    forget_all()


@contextmanager
def migrated(**options):
    """Record the migration for the time of a test."""
    note_migration(**options)
    try:
        yield
    finally:
        note_no_migration()
