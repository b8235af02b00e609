"""Keep a process quick while the database is away.

A web process here has one thread. Connecting can fail slowly: a host that drops packets costs 3 s per attempt. If the
process tried to connect for every request, it could not even serve lists, which need no database. So after a failure
the process waits ten times as long as the failure took before it tries again. It spends at most a tenth of its time
on failing attempts.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from recommender.errors import Unavailable
from recommender.process_state import Clock, clock, remembered

PAUSE_PER_WAIT = 10
MIN_PAUSE_S = 0.1


class Pause:
    """Remember a failure for ten times as long as it took."""

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self._until = -inf

    @property
    def is_on(self) -> bool:
        return self.now() < self._until

    def after(self, waited_s: float) -> None:
        self._until = self.now() + max(MIN_PAUSE_S, PAUSE_PER_WAIT * waited_s)

    def end(self) -> None:
        self._until = -inf


database_pause = Pause()
remembered(database_pause.end)


@contextmanager
def waits(logger: logging.Logger, consequence: str) -> Iterator[None]:
    """Run a task's work, and log a database failure instead of raising it.

    The log line names the consequence. The next tick tries again.
    """
    try:
        yield
    except DatabaseError as error:
        logger.warning("the database does not answer, %s: %s", consequence, str(error).strip())
        connection.close()


@contextmanager
def database() -> Iterator[None]:
    """Run a block that needs PostgreSQL, and raise Unavailable if it is away.

    During a pause it raises at once, without connecting. A connection that breaks during a statement costs only that
    request. A pause begins only after a failure to connect.
    """
    if connection.connection is None and database_pause.is_on:
        raise Unavailable
    started = database_pause.now()
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if connection.connection is None:
            database_pause.after(database_pause.now() - started)
        raise Unavailable from error
