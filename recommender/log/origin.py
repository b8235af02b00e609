"""Recognise the database server, so that positions survive a move.

    append, read ──> recommender_xid_base() ──> the known server: generation * 2**48
                                            └─> another or restarted one: refused
    append again, current() of a learner's wake and of intake ──> recognise() ──> the known server

The log is ordered by transaction id, and each server counts its transactions from its own start. A restored dump or a
logical copy would therefore write new events below the old ones, where no learner looks. So a position is
`generation * 2**48 + transaction id`. Ten thousand transactions a second use up 2**48 in 900 years.

The one row of `recommender_log_origin` names the known server and the generation. Every append and every read of new
events compares it with the server, in its own statement, because a pooler may switch servers between two statements.
The comparison is by the time the server started, which is cheap. After a restart, the first process that appends or
wakes looks closer:

- It is the same server, and its counter is ahead of every position: only the new time is noted. This is a restart,
  a replica that was promoted, or a recovery to an earlier time. Such a copy continues with the counter it copied.
- Otherwise the generation goes up by one, and every sequence moves past its table, because logical replication does
  not copy sequences.

PostgreSQL's system identifier shows whether it is the same server. Where the server does not tell it, the internal
numbers of the database and of the table are compared, which are new in a logical copy. Two copies may have the same
numbers by chance. Then the counter decides, and the order holds all the same.

Up to generation 31 every position is below 2**53, so every JSON reader keeps it exactly. From 32 on, readers that
store numbers as floats lose the last digits. Groundswell does not: it counts to generation 32,767.
"""

import logging
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, TypeVar

from django.db import Error as DatabaseError
from django.db import InternalError, OperationalError, connection, transaction

from recommender.database_outage import sqlstate
from recommender.process_state import clock, remembered

REFUSED = "57G01"  # SQLSTATE of recommender_refuse_server()
READ_ONLY = "25006"  # SQLSTATE of a standby
GENERATION = 2**48  # positions per generation
EXACT_GENERATIONS = 31  # the last generation whose positions are below 2**53
MAX_GENERATION = 2**15 - 1
TURN_TIMEOUT_MS = 300  # of waiting for another process that recognises the server, with a request's only thread
LOCK_TIMEOUT_MS = 2000  # of each lock on a table
LOCK_NOT_AVAILABLE = "55P03"
RETRY_S = 1.0  # after a refusal, this process asks no earlier
NEWEST_EVENTS = 2_000_000  # read to find the highest event number: those of the last minute at 33,000 a second

T = TypeVar("T")
logger = logging.getLogger(__name__)

_MARK = 1 << 62  # of an item that was written on a server not known yet

# No number is higher than those of the transactions that began within a statement's time of the newest. So the newest
# events are enough, and no scan of the log is needed.
_LAST_SEQ = """
SELECT setval('recommender_event_seq', newest.seq)
FROM (SELECT max(seq) AS seq FROM (
    (SELECT seq FROM recommender_event ORDER BY xid DESC, seq DESC LIMIT %s)
    UNION ALL SELECT seq FROM recommender_learner
) AS last) AS newest, recommender_event_seq AS given
WHERE newest.seq > given.last_value
"""
_SEQUENCES = """
SELECT format('%I.%I', n.nspname, s.relname), format('%I.%I', n.nspname, t.relname), quote_ident(a.attname)
FROM pg_depend AS d
JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_class AS t ON t.oid = d.refobjid
JOIN pg_namespace AS n ON n.oid = s.relnamespace AND n.oid = t.relnamespace
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND n.oid = (SELECT relnamespace FROM pg_class WHERE oid = 'recommender_event'::regclass)
"""
_ADVANCE = """
SELECT setval(%s::regclass, newest.n)
FROM (SELECT max({column}) AS n FROM {table}) AS newest, {sequence} AS given
WHERE newest.n > given.last_value
"""
# By index alone: the step of each shard with the highest position, and the shards by skipping from one to the next.
_HIGHEST = """
WITH RECURSIVE shards AS (
    SELECT min(shard) AS shard FROM recommender_step
    UNION ALL
    SELECT (SELECT min(shard) FROM recommender_step WHERE shard > shards.shard) FROM shards WHERE shard IS NOT NULL
)
SELECT greatest(
    (SELECT max(xid::text::bigint) FROM (SELECT xid FROM recommender_event ORDER BY xid DESC LIMIT 1) AS last),
    (SELECT max(xid) FROM recommender_learner),
    (SELECT max(last.to_xid) FROM shards CROSS JOIN LATERAL (
        SELECT to_xid FROM recommender_step WHERE shard = shards.shard ORDER BY to_xid DESC, to_seq DESC LIMIT 1
    ) AS last),
    (SELECT max(xid) FROM recommender_checkpoint),
    (SELECT max(changed_xid) FROM recommender_item WHERE changed_xid < %s),
    0
)
"""
_CAN_GO_ON = """
SELECT recommender_xid_base() + pg_snapshot_xmax(pg_current_snapshot())::text::bigint
       > coalesce((SELECT max(xid) FROM recommender_learner), 0)
"""
# Rows of 0.1.0 belong to shards by the position of the migration 0013. A new installation has none, so such rows were
# copied without that position. The oldest row is enough, because a log begins with them.
_LACKS_CHANGE = """
SELECT oldest.is_crawler IS NULL
FROM (SELECT is_crawler FROM recommender_event ORDER BY xid, seq LIMIT 1) AS oldest
WHERE NOT EXISTS (SELECT FROM recommender_log_change WHERE old_nodes_until > migrated_at)
"""
_SUBSCRIBED = """
SELECT s.subname FROM pg_subscription AS s
JOIN pg_subscription_rel AS r ON r.srsubid = s.oid
JOIN pg_class AS c ON c.oid = r.srrelid AND c.relname LIKE 'recommender\\_%'
WHERE s.subenabled LIMIT 1
"""


class ServerNotKnown(OperationalError):
    """The log is on a server that cannot be recognised now.

    Nothing is written or read until it is. Callers treat it as a database that does not answer.
    """


class Origin(NamedTuple):
    """The server that new positions come from.

    started_at: unix seconds.
    objects: the numbers of the database and of the log's table.
    """

    generation: int
    started_at: float
    system_identifier: str | None
    objects: str

    def is_on(self, other: "Origin") -> bool:
        """Return whether both are the same server, as far as they tell."""
        if self.system_identifier is not None and other.system_identifier is not None:
            return self.system_identifier == other.system_identifier
        return self.objects == other.objects


class _Refusal:
    """Remember the last refusal for RETRY_S.

    So a busy process does not repeat the work.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.reason, self._until = "", -inf

    def remember(self, reason: str) -> None:
        if reason != self.reason:
            logger.error("%s", reason)
        self.reason, self._until = reason, clock() + RETRY_S

    def check(self) -> None:
        if clock() < self._until:
            raise ServerNotKnown(self.reason)


_refusal = _Refusal()
remembered(_refusal.forget)


def on_known_server(work: Callable[[], T]) -> T:
    """Run a statement that only the known server accepts.

    If it is refused, the server is recognised and the statement is tried once more. Raises ServerNotKnown while the
    server cannot be recognised. Inside the caller's transaction nothing can be repeated, so the database's own error
    is raised.
    """
    try:
        return work()
    except (OperationalError, InternalError) as error:
        state = sqlstate(error)
        if connection.in_atomic_block or state not in (REFUSED, READ_ONLY):
            raise
        if state == READ_ONLY:
            connection.close()  # the next one may reach the primary
            raise ServerNotKnown(f"this server takes no events: {error}") from error
    recognise()
    return work()


def recognise() -> Origin:
    """Make the present server the known one, and return it.

    It raises the generation if the server's counter cannot go on from the log's positions. Of several processes one
    does this, and the others find it done. It is one transaction, so a process that is killed here changes nothing.
    A restart takes a few ms, a move up to seconds. Raises ServerNotKnown, and the errors of the database.
    """
    _refusal.check()
    try:
        _refuse_copies()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {TURN_TIMEOUT_MS}")
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('recommender_log_origin'))")
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            origin = _known_that_goes_on(cursor) or _recognise_alone(cursor)
    except ServerNotKnown as error:
        _refusal.remember(str(error))
        raise
    except OperationalError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        _refusal.remember(f"another process recognises the server, or uses the log: {str(error).strip()}")
        raise ServerNotKnown(_refusal.reason) from error
    _refusal.forget()
    return origin


def current() -> Origin:
    """Return the present server, which is recognised if it is not the known one.

    A learner whose position is ahead of the server's counter would never read again, nor the events accepted until
    then. So the server counts as unknown then too, as after rows were copied into a database that was in use.
    Learners ask at every wake, web processes before their first event and every half second. About 0.2 ms. Raises
    ServerNotKnown.
    """
    with connection.cursor() as cursor:
        origin = _known_that_goes_on(cursor)
    return origin or recognise()


def _known_that_goes_on(cursor: Any) -> Origin | None:
    """Return the known server if it is the present one and can go on.

    It cannot if a learner is ahead of its counter.
    """
    cursor.execute(_CAN_GO_ON)
    (can_go_on,) = cursor.fetchone()
    return _known(cursor) if can_go_on else None


def _recognise_alone(cursor: Any) -> Origin:
    before, highest = _known(cursor), _highest(cursor)
    generation = max(before.generation if before else 0, highest // GENERATION)
    cursor.execute(
        "SELECT extract(epoch FROM pg_postmaster_start_time())::float8, recommender_system_identifier(),"
        " recommender_objects(), greatest(pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
        " pg_current_xact_id_if_assigned()::text::bigint + 1)"  # the caller's transaction may have written an item
    )
    *server, counter = cursor.fetchone()
    now = Origin(generation, *server)
    is_ahead = generation * GENERATION + counter > highest
    if now == before and is_ahead:
        return now  # another process was first
    if now.system_identifier is None:
        logger.warning(
            "this server does not tell its system identifier, so it is recognised by the numbers of its objects: %s",
            now.objects,
        )
    if before and before.is_on(now) and is_ahead:
        logger.info("the database server is known: positions go on in generation %d", generation)
    else:
        now = _raise_generation(cursor, now)
    _store(cursor, now)
    cursor.execute("UPDATE recommender_item SET changed_xid = 0 WHERE changed_xid = %s", [_MARK])
    return now


def _raise_generation(cursor: Any, now: Origin) -> Origin:
    now = now._replace(generation=now.generation + 1)
    if now.generation > MAX_GENERATION:
        raise ServerNotKnown(
            f"the log was moved {MAX_GENERATION} times and has no further positions: start with an empty database"
        )
    cursor.execute(
        "LOCK TABLE recommender_event IN SHARE ROW EXCLUSIVE MODE"
    )  # no append under the generation before
    cursor.execute(_LACKS_CHANGE)
    if (cursor.fetchone() or (False,))[0]:
        raise ServerNotKnown(
            "events of version 0.1.0 were copied into this database without recommender_log_change, which tells to"
            " which shard they belong. Run TRUNCATE recommender_log_change here, then copy the rows of that table too"
        )
    n_advanced = _advance_sequences(cursor)
    logger.warning(
        "the log is on another database server: its positions go on in generation %d, and %d sequences were advanced",
        now.generation,
        n_advanced,
    )
    if now.generation > EXACT_GENERATIONS:
        logger.warning("positions are above 2**53 now: JSON readers that store numbers as floats lose digits")
    return now


def _known(cursor: Any) -> Origin | None:
    cursor.execute(
        "SELECT generation, extract(epoch FROM started_at)::float8, system_identifier, objects"
        " FROM recommender_log_origin"
    )
    row = cursor.fetchone()
    return Origin(*row) if row else None


def _highest(cursor: Any) -> int:
    """Return the highest position that any table holds."""
    cursor.execute(_HIGHEST, [_MARK])
    return int(cursor.fetchone()[0])


def _store(cursor: Any, origin: Origin) -> None:
    cursor.execute(
        "INSERT INTO recommender_log_origin (generation, started_at, system_identifier, objects)"
        " VALUES (%s, pg_postmaster_start_time(), %s, %s) ON CONFLICT (is_only) DO UPDATE SET"
        " generation = excluded.generation, started_at = excluded.started_at,"
        " system_identifier = excluded.system_identifier, objects = excluded.objects, recognised_at = now()",
        [origin.generation, origin.system_identifier, origin.objects],
    )


def _advance_sequences(cursor: Any) -> int:
    """Move each sequence past its table's highest value.

    Returns the number of those that were behind.
    """
    cursor.execute(_LAST_SEQ, [NEWEST_EVENTS])
    n_advanced = int(cursor.rowcount)
    cursor.execute(_SEQUENCES)
    for sequence, table, column in cursor.fetchall():
        cursor.execute(_ADVANCE.format(sequence=sequence, table=table, column=column), [sequence])
        n_advanced += cursor.rowcount
    return n_advanced


def _refuse_copies() -> None:
    """Refuse a standby, and a database that another server's log is still copied into."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            if not connection.in_atomic_block:
                connection.close()  # the next one may reach the primary
            raise ServerNotKnown("this server is a standby: connect to the primary, or promote it")
        try:
            cursor.execute(_SUBSCRIBED)
        except DatabaseError as error:
            logger.warning("subscriptions of this server cannot be read: %s", str(error).strip())
            return
        subscribed = cursor.fetchone()
    if subscribed:
        raise ServerNotKnown(
            f"the subscription {subscribed[0]} still copies the log into this database: stop Groundswell on the other"
            f" server, wait until the copy is complete, then run ALTER SUBSCRIPTION {subscribed[0]} DISABLE"
        )
