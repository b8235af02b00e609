"""Find an actor's events in the log, and remove them with their keys."""

from django.conf import settings
from django.db import connection

from recommender import ids
from recommender.log.buckets import IS_MOVED, bucket_of
from recommender.log.event_keys import log_key
from recommender.log.positions import Position
from recommender.log.statements import fetch

_ACTOR_STEPS = f"""
SELECT e.xid::text::bigint, e.seq, s.number
FROM recommender_event AS e, LATERAL (
    SELECT number, from_xid, from_seq FROM recommender_step
    WHERE shard = %(shard)s AND (to_xid, to_seq) >= (e.xid::text::bigint, e.seq)
    ORDER BY to_xid, to_seq, number LIMIT 1
) AS s
WHERE e.actor = %(actor)s AND (s.from_xid, s.from_seq) < (e.xid::text::bigint, e.seq)
  AND CASE WHEN {IS_MOVED} THEN %(bucket)s ELSE e.bucket END %% %(shards)s = %(shard)s
ORDER BY e.xid, e.seq
"""
_ERASE = """
DELETE FROM recommender_event WHERE actor = %s
RETURNING xid::text::bigint, seq, event_key, is_crawler IS NULL, item, kind, site
"""
# Hashes of ids alone are locked first and in order, as by an append (recommender.log.appending). An alias may also
# belong to another actor's event with the same id. Then an old process would store that event again, but only if its
# client repeats it within the days of the rollout.
_FORGET = (
    "SELECT 1 FROM recommender_event_key WHERE key = ANY(%s) AND is_alias <> (key = ANY(%s)) ORDER BY key FOR UPDATE",
    "DELETE FROM recommender_event_key WHERE key = ANY(%s) AND is_alias <> (key = ANY(%s))",
)


def actor_steps(actor: str, shard: int) -> list[tuple[Position, int]]:
    """Return an actor's events in a shard, as their positions and steps.

    Events that no recorded step took are left out.
    """
    bucket = bucket_of(ids.encoder().key(actor))
    named: dict[str, str | int] = {"actor": actor, "shard": shard, "shards": settings.SHARDS, "bucket": bucket}
    with connection.cursor() as cursor:
        cursor.execute(_ACTOR_STEPS, named)
        return [(Position(xid, seq), number) for xid, seq, number in cursor.fetchall()]


def count_of(actor: str) -> int:
    """Return the number of events of an actor in the log."""
    return int(fetch("SELECT count(*) FROM recommender_event WHERE actor = %s", [actor])[0])


def erase(actor: str) -> list[Position]:
    """Delete an actor's events and their keys, and return their positions.

    It deletes events that are not learned yet too. Payments of lists stay: their hashes name no one. The caller opens
    the transaction. About 10 us an event.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ERASE, [actor])
        rows = cursor.fetchall()
        with_id = [row for row in rows if row[2] is not None]
        old_keys = [bytes(key) for _, _, key, is_old, *_ in with_id if is_old]
        aliases = [bytes(key) for _, _, key, is_old, *_ in with_id if not is_old]
        log_keys = [
            log_key(bytes(key), actor, item, kind, site)
            for _, _, key, is_old, item, kind, site in with_id
            if not is_old
        ]
        if with_id:
            for statement in _FORGET:
                cursor.execute(statement, [old_keys + aliases, old_keys])
            cursor.execute("DELETE FROM recommender_event_key WHERE key = ANY(%s)", [log_keys])
        return sorted(Position(xid, seq) for xid, seq, *_ in rows)
