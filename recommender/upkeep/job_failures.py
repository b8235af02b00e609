"""Give every background job one end when something unexpected is raised in it.

    a job raises ──contained──> the log: its traceback      ──> the next in line goes on
                          └──note──> the row of the job: failed, the error in one line, the time
                                           └──server_warnings──> /health/ready, /metrics, console, one alert

An erasure and a revert have rows of their own (`recommender.control.job_progress`), and so has a message
(`monitoring.alerts.outbox`). All other jobs have a Chore (`recommender.upkeep.chores`). Every job is run by one of
these modules, so none needs an `except Exception` of its own.

An error that ends by itself is no failure: the database or the object store is away, or another process was first. It
goes on to the task, which logs one line, and the next tick tries again.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import Error as DatabaseError
from django.db import connection

from recommender import database_outage
from recommender.errors import Transient
from recommender.process_state import clock, remembered

MAX_ERROR = 1000
LOG_AGAIN_S = 600.0  # a job of every few seconds may raise the same error in every run
MOST_LOGGED = 1000

# SQLSTATEs of errors that end by themselves: a deadlock or another rollback, no room on the disk or in memory, a lock
# that is not free. A statement that lasts too long is none of them, because it would last as long again.
_TRANSIENT = ("40", "53", "55P03")

_logged_at: dict[tuple[str, str], float] = {}
remembered(_logged_at.clear)


class PartsFailed(Exception):
    """Some parts of a job failed and are logged. The others were done."""


def is_transient(error: Exception) -> bool:
    """Return whether an error ends by itself, so that the job is tried again."""
    if isinstance(error, DatabaseError):
        return database_outage.is_away(error) or (database_outage.sqlstate(error) or "").startswith(_TRANSIENT)
    return isinstance(error, Transient)


class Parts:
    """Run the parts of a job, so that one that fails keeps no other from running.

    >>> parts = Parts(logging.getLogger("doctest"))
    >>> with parts.run("sum up"):
    ...     total = 1 + 1
    >>> parts.errors
    []
    """

    def __init__(
        self, logger: logging.Logger, job: str = "", is_passed_on: Callable[[Exception], bool] = is_transient
    ) -> None:
        """Start without errors.

        job: named in the log. is_passed_on: see `contained`.
        """
        self.errors: list[str] = []
        self._logger, self._job, self._is_passed_on = logger, job, is_passed_on

    def run(self, name: str) -> AbstractContextManager[None]:
        """Run a part. Its error is kept, with the name of the part."""
        job = f"{self._job}: {name}" if self._job else name
        return contained(self._logger, job, lambda error: self.errors.append(f"{name}: {error}"), self._is_passed_on)

    def end(self) -> None:
        """Raise PartsFailed if a part failed."""
        if self.errors:
            raise PartsFailed("\n".join(self.errors))


def describe(error: Exception) -> str:
    """Describe an error in one line.

    >>> describe(ValueError("too\\nlong"))
    'ValueError: too long'
    """
    if isinstance(error, PartsFailed):
        return str(error)[:MAX_ERROR]
    told = str(error).replace("\0", "")
    if isinstance(error, DatabaseError):
        told = told.partition("\nDETAIL:")[0]  # it may have a row, which could name an actor
    told = " ".join(told.split())
    return f"{type(error).__name__}: {told}"[:MAX_ERROR]


@contextmanager
def contained(
    logger: logging.Logger,
    job: str,
    note: Callable[[str], object],
    is_passed_on: Callable[[Exception], bool] = is_transient,
) -> Iterator[None]:
    """Run a job. Log what it raises, and note it in one line.

    note: records the failure. It runs after the job, so it may write to the database.
    is_passed_on: returns True for an error that is no failure of the job. It is raised again.
    """
    try:
        yield
    except Exception as error:
        if is_passed_on(error):
            raise
        told = describe(error)
        if not isinstance(error, PartsFailed) and _is_new(job, told):
            logger.exception("%s failed", job)
        if isinstance(error, DatabaseError):
            connection.close_if_unusable_or_obsolete()
        note(told)


def _is_new(job: str, told: str) -> bool:
    """Return whether this process has not logged this failure lately."""
    now = clock()
    if now < _logged_at.get((job, told), now):
        return False
    if len(_logged_at) >= MOST_LOGGED:
        _logged_at.clear()
    _logged_at[job, told] = now + LOG_AGAIN_S
    return True
