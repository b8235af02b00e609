"""How a process behaves while a server it needs is away: quickly, and without asking all the time.

A web process here has one thread. Where connecting fails slowly (a host that drops packets: 3 s a try), asking again
for every request would stop the serving of lists, which needs no database at all. So after a failure the process asks
again only when ten times as long as the failure took has passed: at most a tenth of its time goes into waiting.
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
    """Remembers a failure for as long as is worth it."""

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
    """Around what a task does: where the database fails, says so with the consequence, and lets the next tick try."""
    try:
        yield
    except DatabaseError as error:
        logger.warning("the database does not answer, %s: %s", consequence, str(error).strip())
        connection.close()


@contextmanager
def database() -> Iterator[None]:
    """Around whatever needs PostgreSQL: raises Unavailable when it is away, at once while it is known to be.

    A connection that breaks under a statement costs that one request; only a failure to connect starts a pause.
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
