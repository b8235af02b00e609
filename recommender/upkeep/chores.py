"""Run a chore when the database's clock says that it is due.

    beat, every half minute ──> run(name, every) ──due by the database's clock──> its parts ──> Chore row

A session holds the chore's lock while it runs, so two workers never run a chore at once, however long it lasts. The
lock of a worker that died is released. The row is claimed with a compare-and-set, so a wake too many does nothing.

A chore that was missed while all was down is run when things are up again. A part that fails does not keep the other
parts from running. The failure is logged, and stays in the row until the chore is done. It is a warning too
(`recommender.upkeep.server_warnings`).

A job of every few seconds is always due and holds no lock: `run_often`. It notes a success once in NOTE_EVERY_S, so
most of its runs write nothing here.
"""

import logging
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now

from recommender import locks
from recommender.models import Chore
from recommender.process_state import clock, remembered
from recommender.upkeep.job_failures import Parts

NOTE_EVERY_S = 60.0
SHOWN_FOR = timedelta(seconds=60)  # a failure of a frequent job stays so long, and the keeper looks every 30 s
RETRY_AFTER = timedelta(minutes=10)  # of a chore that failed, or whose worker died
MAX_ERROR = 2000
LOCK_CLASS = 0x675B  # of the advisory locks taken here

logger = logging.getLogger(__name__)

_noted_until: dict[str, float] = {}
remembered(_noted_until.clear)


@dataclass(frozen=True, slots=True)
class ChoreState:
    """The state of a chore, by the database's clock.

    done_s: seconds since it was last done, None if it never was.
    """

    name: str
    done_s: float | None
    n_failures: int
    error: str


def run(
    name: str,
    parts: Mapping[str, Callable[[], object]],
    *,
    every: timedelta,
    retry_after: timedelta = RETRY_AFTER,
    is_due_at_first: bool = True,
) -> bool:
    """Run the parts of a chore if it is due, and return whether it was.

    Raises the errors of the database only where the row cannot be read or written, or the lock not be taken.

    retry_after: begin again so much later after a failure. If the worker died, begin so much after it began.
    is_due_at_first: without it, the first time is an interval from now.
    """
    Chore.objects.get_or_create(name=name, defaults={} if is_due_at_first else {"done_at": Now()})
    with _hold(name) as is_ours:
        return is_ours and _run(name, parts, every, retry_after)


def _hold(name: str) -> AbstractContextManager[bool]:
    """Hold the lock of a chore, whose number is a hash of its name."""
    return locks.hold(zlib.crc32(name.encode()) - 2**31, lock_class=LOCK_CLASS)


def _run(name: str, parts: Mapping[str, Callable[[], object]], every: timedelta, retry_after: timedelta) -> bool:
    rest = min(every, retry_after)
    is_idle = Q(begun_at=None) | Q(begun_at__lte=Now() - rest)
    is_rested = Q(failed_at=None) | Q(failed_at__lte=Now() - rest)
    is_due = Q(done_at=None) | Q(done_at__lte=Now() - every)
    if not Chore.objects.filter(is_idle & is_rested & is_due, name=name).update(begun_at=Now()):
        return False
    done = Parts(logger, name, is_passed_on=lambda _: False)
    for part, do in parts.items():
        with _hold(name) as is_ours:  # once more, because a connection that broke has lost it
            if not is_ours:
                logger.warning("%s: the connection broke, and another worker runs the chore now", name)
                return True
            with done.run(part):
                do()
    if done.errors:
        _note_failure(name, done.errors)
    else:
        Chore.objects.filter(name=name).update(done_at=Now(), n_failures=0, error="")
    return True


def run_often(name: str, parts: Mapping[str, Callable[[], object]]) -> int:
    """Run the parts of a job of every few seconds, and return its failures in a row.

    It is 0 if all is well. An error that ends by itself is raised. A failure stays for SHOWN_FOR at least, so that
    people see it, and until the next success after that.
    """
    done = Parts(logger, name)
    for part, do in parts.items():
        with done.run(part):
            do()
    if done.errors:
        _noted_until.pop(name, None)
        Chore.objects.get_or_create(name=name)
        _note_failure(name, done.errors)
        return Chore.objects.values_list("n_failures", flat=True).get(name=name)
    if clock() >= _noted_until.get(name, -inf):
        _noted_until[name] = clock() + NOTE_EVERY_S
        is_over = Q(n_failures=0) | Q(failed_at__lte=Now() - SHOWN_FOR)
        if not Chore.objects.filter(is_over, name=name).update(done_at=Now(), n_failures=0, error=""):
            Chore.objects.get_or_create(name=name, defaults={"done_at": Now()})
    return 0


def _note_failure(name: str, errors: list[str]) -> None:
    failure = {"failed_at": Now(), "n_failures": F("n_failures") + 1, "error": "\n".join(errors)[:MAX_ERROR]}
    Chore.objects.filter(name=name).update(**failure)


def list_chores() -> list[ChoreState]:
    """Return the state of every chore that was ever run."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, extract(epoch FROM now() - done_at)::float8, n_failures, error FROM recommender_chore"
            " ORDER BY name"
        )
        return [ChoreState(*row) for row in cursor.fetchall()]
