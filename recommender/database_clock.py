"""The database's clock, as this process knows it.

    clock_timestamp() ──asked at most once a minute──> offset to this process's monotonic clock ──> unix_s, now

Machines' clocks differ, by milliseconds or by hours. Every stored time is the database's, so it is compared with the
database's clock only. A process learns the offset in statements that it makes next to others. Between them its
monotonic clock counts on, which no one can set. The offset is off by at most half a round trip, plus the drift of a
minute: a few milliseconds.

A machine that slept has a monotonic clock that stopped. So the offset is also asked for again when the machine's own
two clocks have moved apart.
"""

import logging
import time
from datetime import UTC, datetime
from math import inf

from django.db import connection

from recommender.process_state import Clock, clock, remembered

ASK_EVERY_S = 60.0
JUMP_S = 0.5  # by which the machine's clock and its monotonic clock part when the machine slept or was set

logger = logging.getLogger(__name__)


def _ask() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(cursor.fetchone()[0])


class DatabaseClock:
    """The database's clock in one process. Threads share it."""

    def __init__(self, ask: Clock = _ask, now: Clock = clock, machine: Clock = time.time) -> None:
        """Start without an offset.

        ask: returns the database's unix seconds, or raises its errors.
        now: the monotonic clock. machine: the machine's own unix seconds.
        """
        self._ask, self._now, self._machine = ask, now, machine
        self.forget()

    def forget(self) -> None:
        """Forget the offset."""
        self._offset_s: float | None = None
        self._apart_s = 0.0
        self._due_at = -inf
        self._is_told = False

    def learn(self) -> None:
        """Ask the database if the offset is unknown or old.

        Raises the errors of the database.
        """
        if not self._is_due():
            return
        sent_at = self._now()
        said_s = self._ask()
        answered_at = self._now()
        self._apart_s = self._machine() - answered_at
        self._offset_s = said_s - (sent_at + answered_at) / 2
        self._due_at = answered_at + ASK_EVERY_S

    def unix_s(self) -> float:
        """Return the unix seconds by the database's clock. It never asks the database.

        A process that has never reached the database only has the machine's clock, and logs that once.
        """
        if self._offset_s is None:
            if not self._is_told:
                logger.warning("the database's clock is not known yet, so this machine's clock is used")
                self._is_told = True
            return self._machine()
        return self._offset_s + self._now()

    def _is_due(self) -> bool:
        now = self._now()
        is_apart = abs(self._machine() - now - self._apart_s) > JUMP_S
        return self._offset_s is None or now >= self._due_at or is_apart


_of_process = DatabaseClock()
remembered(_of_process.forget)


def learn() -> None:
    """Ask for the database's time, unless it was asked lately.

    Call it next to other statements. Raises the errors of the database. 0.1 ms, once in ASK_EVERY_S.
    """
    _of_process.learn()


def unix_s() -> float:
    """Return the unix seconds by the database's clock, without a statement."""
    return _of_process.unix_s()


def now() -> datetime:
    """Return the time by the database's clock.

    It is for callers that use the database anyway. Raises the errors of the database.
    """
    learn()
    return datetime.fromtimestamp(unix_s(), UTC)
