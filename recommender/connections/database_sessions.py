"""Give every session of the database our settings, also behind a pooler.

    a new connection ──> its settings are there, and no pooler answers: as it is
                     └─> a pooler: settings that it dropped are set again ──> is it one session for each of us?
                                   no: UnsuitablePooler, with the reason and the remedy

Groundswell needs sessions. A lock shows that a worker is busy, and ends when its session ends (`recommender.locks`).
Statements are prepared once. No statement lasts longer than `statement_timeout`. A pooler in transaction mode gives
the next transaction another session: locks would be left behind or not hold, without any error. So it is refused, at
the start and at every later connection. In session mode a pooler works.

A pooler is recognised by the process number that it reports, which is not that of the session. Whether sessions are
shared is tried: a second client gets the session of the first only where they are shared.
"""

import sys
from typing import Any

import psycopg
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from recommender.process_state import remembered

N_OTHERS = 2  # further clients that try to get our session
REMEDY = (
    "Set pool_mode = session for this database, or let DATABASE_URL lead to PostgreSQL itself. In pgbouncer, also set"
    " ignore_startup_parameters = options."
)


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

    One statement, about 0.2 ms. Raises UnsuitablePooler, with the connection closed.
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
    if not _tried.has_sessions and _are_sessions_shared(session):
        raise UnsuitablePooler(
            "A pooler in transaction mode answers at DATABASE_URL. Groundswell needs a session of its own, for its"
            f" locks, prepared statements and statement_timeout. {REMEDY}"
        )
    _tried.has_sessions = True
    for name, value in wanted.items():
        session.execute("SELECT set_config(%s, %s, false)", [name, value])


def _are_sessions_shared(session: "psycopg.Connection[Any]") -> bool:
    """Try whether another client gets the session that ours had.

    Each of the others keeps its session by a transaction, so that ours cannot have it again.
    """
    ours, others = _pid(session), []
    try:
        for _ in range(N_OTHERS):
            other = psycopg.connect(session.info.dsn, password=session.info.password or None)
            others.append(other)
            if _pid(other) == ours or _pid(session) != ours:
                return True
        return False
    finally:
        for other in others:
            other.close()


def _pid(session: "psycopg.Connection[Any]") -> int:
    row = session.execute("SELECT pg_backend_pid()").fetchone()
    assert row
    return int(row[0])
