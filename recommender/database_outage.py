"""Keep a process quick while the database is away, and describe its errors.

    a request ──database()──> PostgreSQL                   an attempt to connect fails ──> the database is away
    while it is away: Unavailable at once                  a thread of its own tries until it answers ──> it is back

A web process has few threads. Connecting can fail slowly: a host that drops packets costs 3 s per attempt. If the
process tried to connect for every request, it could not even serve lists, which need no database. So after a failure
one background thread tries, and no request does. It tries again within LONGEST_PAUSE_S, however long the outage
lasted. So a failover of a minute costs a minute, and a few seconds more.

`Pause` is for other servers, which fail within half a second: it is a simple rest after a failure.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connection, connections
from django.db import Error as DatabaseError

from recommender.errors import Unavailable
from recommender.process_state import Clock, clock, remembered

PAUSE_PER_WAIT = 10
MIN_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
TELL_EVERY_S = 10.0  # of refused statements, which every request may meet
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0  # between two attempts to connect

# SQLSTATEs of a server that is starting, stopping, in recovery, read-only, out of connections, or not recognised yet
# (recommender.log.origin).
_AWAY = ("57P01", "57P02", "57P03", "57P05", "25006", "53300", "57G01")

logger = logging.getLogger(__name__)


class Pause:
    """Remember a failure for ten times as long as it took, at most `longest_s`."""

    def __init__(self, now: Clock = clock, longest_s: float = MAX_PAUSE_S) -> None:
        self.now, self._longest_s = now, longest_s
        self._until = -inf

    @property
    def is_on(self) -> bool:
        return self.now() < self._until

    def after(self, waited_s: float) -> None:
        self._until = self.now() + min(self._longest_s, max(MIN_PAUSE_S, PAUSE_PER_WAIT * waited_s))

    def end(self) -> None:
        self._until = -inf


def _connect() -> None:
    """Connect and ask one thing, on a connection of its own."""
    trial = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with trial.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        trial.close()


class Outage:
    """An outage of the database, as one process knows it.

    The first failure starts a thread that tries to connect. It ends with the outage.
    """

    def __init__(self, connect: Callable[[], None] = _connect) -> None:
        """Start with a database that answers.

        connect: raises a database error if the database is away.
        """
        self._connect = connect
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._over.set()
        self._trier: threading.Thread | None = None

    @property
    def is_on(self) -> bool:
        return not self._over.is_set()

    def begin(self) -> None:
        """Refuse requests until the database answers."""
        with self._lock:
            if self.is_on:
                return
            self._over = threading.Event()
            self._trier = threading.Thread(target=self._try_until, args=(self._over,), daemon=True)
            self._trier.start()

    def end(self) -> None:
        """Let requests try again."""
        self._over.set()

    def _try_until(self, over: threading.Event) -> None:
        pauses = iter(pause_lengths())
        while not over.wait(next(pauses)):
            if self.answers():
                over.set()

    def answers(self) -> bool:
        """Try to connect once, and return whether the database answers."""
        try:
            self._connect()
        except DatabaseError as error:
            logger.debug("the database is still away: %s", error)
            return False
        except Exception:  # the requests will show what is wrong
            logger.exception("the database cannot be tried")
        return True


def pause_lengths() -> Iterator[float]:
    """Yield the seconds between attempts to connect.

    They double up to LONGEST_PAUSE_S.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


outage = Outage()
remembered(outage.end)
_tell = Pause(longest_s=inf)
remembered(_tell.end)


def is_away(error: DatabaseError) -> bool:
    """Return whether the server is away, rather than refused a statement.

    A server that is away gives no SQLSTATE, or one about its own state. A full disk or a wrong value is no outage.
    """
    state = sqlstate(error)
    if state is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return state.startswith("08") or state in _AWAY


def sqlstate(error: DatabaseError) -> str | None:
    """Return the code that the server gave, or None if it gave none."""
    return getattr(error.__cause__, "sqlstate", None)


def describe(error: DatabaseError) -> str:
    """Describe a database error in one line.

    It says that the server is away, or names the cause for which it refused a statement.
    """
    told = " ".join(str(error).split())
    if is_away(error):
        return f"the database does not answer ({told})"
    return f"the database refused a statement (SQLSTATE {sqlstate(error) or 'none'}: {told})"


@contextmanager
def waits(logger: logging.Logger, consequence: str) -> Iterator[None]:
    """Run a task's work, and log a database failure instead of raising it.

    The log line names the failure and the consequence. The next tick tries again.
    """
    try:
        yield
    except DatabaseError as error:
        level = logging.WARNING if is_away(error) else logging.ERROR
        logger.log(level, "%s: %s", describe(error), consequence)
        connection.close()


@contextmanager
def database() -> Iterator[None]:
    """Run a block that needs PostgreSQL, and raise Unavailable if it is away.

    During an outage it raises at once, without connecting. A connection that breaks during a statement costs only
    that request. An outage begins only after a failure to connect.
    """
    if connection.connection is None and outage.is_on:
        raise Unavailable
    try:
        yield
    except DatabaseError as error:
        if not (is_away(error) or isinstance(error, (OperationalError, InterfaceError))):
            raise
        if connection.connection is None:
            outage.begin()
        if not is_away(error) and not _tell.is_on:
            logger.error("%s: the request was answered with 503", describe(error))
            _tell.after(TELL_EVERY_S / PAUSE_PER_WAIT)
        raise Unavailable from error
