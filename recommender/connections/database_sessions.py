"""Give every session of the database our settings, also behind a pooler.

    a new connection ──> its settings are there, and no pooler answers: as it is
                     └─> a pooler: settings that it dropped are set again ──> is it one session for each of us?
                                   no: UnsuitablePooler, with the reason and the remedy

Groundswell needs sessions. A lock shows that a worker is busy, and ends when its session ends (`recommender.locks`).
Statements are prepared once. No statement lasts longer than `statement_timeout`. A pooler in transaction mode gives
the next transaction another session: locks would be left behind or not hold, without any error. So it is refused, at
the start and at every later connection. In session mode a pooler works.

A pooler is recognised by the process number that it reports, which is not that of the session. Whether sessions are
shared is tried: a second client gets the session of the first only where they are shared. If the second one gets no
session in time, all are in use. Then ours is taken as our own, and the next connection tries again.
"""

import logging
import select
import sys
from typing import Any

import psycopg
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from recommender.process_state import remembered

N_OTHERS = 2  # further clients that try to get our session
WAIT_S = 2  # for each of them
REMEDY = (
    "Set pool_mode = session for this database, or let DATABASE_URL lead to PostgreSQL itself. In pgbouncer, also set"
    " ignore_startup_parameters = options."
)


logger = logging.getLogger(__name__)


class UnsuitablePooler(OperationalError):
    """A pooler in transaction mode answers at DATABASE_URL.

    At the start it ends the process. Later, callers treat it as a database that does not answer.
    """


class _Tried:
    """Remember that sessions were found to be our own.

    So a process tries it once.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.has_sessions = False


_tried = _Tried()
remembered(_tried.forget)


def prepare(sender: object, *, connection: BaseDatabaseWrapper, **_: object) -> None:  # noqa: ARG001 (a signal)
    """Check a new connection, and give it the settings that a pooler dropped.

    One statement, about 0.2 ms. Behind a pooler whose sessions are all in use, about WAIT_S. Raises UnsuitablePooler,
    with the connection closed.
    """
    session: Any = connection.connection
    try:
        _prepare(session, connection.settings_dict.get("SESSION", {}))
    except BaseException:
        connection.close()
        raise


def end_if_unsuitable() -> None:
    """End this process if it could never work with the pooler that answers.

    While nothing answers, the process starts, because it can do some of its work without a database.
    """
    if connection.connection is not None:
        return
    try:
        connection.ensure_connection()
    except OperationalError as error:
        if reason := explain(error):
            sys.exit(reason)
    finally:
        connection.close()


def explain(error: OperationalError) -> str | None:
    """Return a sentence for an error that a restart will not end, or None."""
    if isinstance(error, UnsuitablePooler):
        return str(error)
    if "unsupported startup parameter" in str(error):
        return f"The pooler at DATABASE_URL refuses Groundswell's settings of a session. {REMEDY}"
    return None


def _prepare(session: "psycopg.Connection[Any]", wanted: dict[str, str]) -> None:
    if _pid(session) == session.info.backend_pid:
        return  # PostgreSQL itself, which took all settings
    if not _tried.has_sessions:
        are_shared = _are_sessions_shared(session)
        if are_shared:
            raise UnsuitablePooler(
                "A pooler in transaction mode answers at DATABASE_URL. Groundswell needs a session of its own, for"
                f" its locks, prepared statements and statement_timeout. {REMEDY}"
            )
        _tried.has_sessions = are_shared is False
    for name, value in wanted.items():
        session.execute("SELECT set_config(%s, %s, false)", [name, value])


def _are_sessions_shared(session: "psycopg.Connection[Any]") -> bool | None:
    """Try whether another client gets the session that ours had.

    Each of the others keeps its session by a transaction, so that ours cannot have it again. Return None if one of
    them gets no session within WAIT_S, as from a pool that is full.
    """
    ours, others = _pid(session), []
    try:
        for _ in range(N_OTHERS):
            other = psycopg.connect(
                session.info.dsn, password=session.info.password or None, autocommit=True, connect_timeout=WAIT_S
            )
            others.append(other)
            theirs = _pid_in_transaction(other)
            if theirs == ours or (theirs and _pid(session) != ours):
                return True
            if theirs is None:
                raise psycopg.OperationalError(f"no answer within {WAIT_S} s")
        return False
    except psycopg.OperationalError as error:
        logger.warning(
            "it cannot be tried whether the pooler shares its sessions, because a second client got none: %s."
            " Give the pool more sessions than Groundswell has connections",
            str(error).strip(),
        )
        return None
    finally:
        for other in others:
            other.close()


def _pid(session: "psycopg.Connection[Any]") -> int:
    row = session.execute("SELECT pg_backend_pid()").fetchone()
    assert row
    return int(row[0])


def _pid_in_transaction(other: "psycopg.Connection[Any]") -> int | None:
    """Begin a transaction and return the number of its session's process.

    Return None if there is no answer in time.
    """
    raw, found = other.pgconn, None
    answers = select.poll()
    answers.register(raw.socket, select.POLLIN)
    raw.send_query(b"BEGIN; SELECT pg_backend_pid()")
    raw.flush()
    while True:
        while raw.is_busy():
            if not answers.poll(1000 * WAIT_S):
                return None
            raw.consume_input()
        result = raw.get_result()
        if result is None:
            return found
        if result.status == psycopg.pq.ExecStatus.TUPLES_OK:
            found = int(result.get_value(0, 0) or 0)
