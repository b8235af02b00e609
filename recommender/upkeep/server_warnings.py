"""Warnings before a limit of the servers hurts, and what to do about each.

    database, log, view store, jobs ──read_figures──> ServerFigures ──warn──> sentences
                                                      └──> /metrics     └──> /health/ready, console, log, alerts

Each threshold leaves a person a working day where that is possible, and its reason is next to it. Nothing here
changes anything. A figure that cannot be read is left out, and the log says why. Its warnings are then unknown, not
over (`is_known`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection

from recommender import database_outage
from recommender.process_state import clock, remembered
from recommender.upkeep import chores, database_limits, failed_jobs, log_reach, open_transactions, store_memory
from recommender.upkeep.chores import ChoreState
from recommender.upkeep.database_limits import Connections, Space
from recommender.upkeep.failed_jobs import FailedJob
from recommender.upkeep.log_reach import LogReach
from recommender.upkeep.open_transactions import OpenTransaction
from recommender.upkeep.store_memory import StoreMemory

KEPT_S = 10.0  # for which a process keeps the figures
HELD_UP_S = 10.0  # an append takes milliseconds, and the longest transaction of Groundswell's own some seconds
URGENT_HELD_UP_S = 60.0  # by then readers see that the lists do not change
SPACE_SHARE, URGENT_SPACE_SHARE = 0.8, 0.92  # a day's partition and its indexes must still fit
SPACE_DAYS, URGENT_SPACE_DAYS = 7.0, 2.0  # a weekend, and the time to order a disk
CONNECTIONS_SHARE, URGENT_CONNECTIONS_SHARE = 0.8, 0.95  # a restart of the web servers needs some to spare
# Autovacuum freezes from 0.2 billion on, and PostgreSQL stops writing at 2.1 billion.
XID_AGE, URGENT_XID_AGE = 1_000_000_000, 1_600_000_000
STORE_SHARE, URGENT_STORE_SHARE = 0.8, 0.95
REACH_DAYS, URGENT_REACH_DAYS = 5.0, 2.0  # before retention drops events that a learner still needs
LATE_DAYS = 2  # by which partitions may outlive retention: housekeeping runs every hour
AHEAD_DAYS = 3  # partitions are made seven days ahead, so this is four days without housekeeping
HOURLY_CHORES = ("housekeeping", "monitoring_housekeeping")
LATE_CHORE_S = 3 * 3600.0  # of an hourly chore
MOST_JOBS = 5  # failed jobs with a warning of their own
MOST_ERROR = 200  # characters, because a title of an alert is cut

logger = logging.getLogger(__name__)

# The warnings that each figure gives, by the beginnings of their names.
GIVEN_BY = {
    "transaction": ("open_transaction",),
    "space": ("database_space",),
    "connections": ("connections",),
    "xid_age": ("transaction_ids",),
    "reach": ("log_reach", "log_kept", "log_ahead"),
    "store": ("view_store",),
    "chores": ("failed_", "late_"),
    "failed_jobs": ("erasure_failed", "revert_failed", "more_failed"),
}
# Jobs of every few seconds, and what does not happen while they fail.
FREQUENT_JOBS = {
    "deliver": "Delivering alerts",
    "erase": "Looking for erasures to carry out",
    "follow_up": "Looking after a freeze",
    "gather": "Gathering findings",
    "revert": "Looking for reverts to carry out",
    "warn": "Sending warnings",
}


@dataclass(frozen=True, slots=True)
class ServerWarning:
    """Something that will hurt if no one acts.

    name: a word that stays the same. text: what is wrong and what to do. is_urgent: it hurts now or very soon.
    """

    name: str
    text: str
    is_urgent: bool


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The figures of the servers, each None or empty if there is none.

    unread: the names of those that could not be read.
    """

    transaction: OpenTransaction | None = None
    space: Space | None = None
    connections: Connections | None = None
    xid_age: tuple[str, int] | None = None
    reach: LogReach | None = None
    store: StoreMemory | None = None
    chores: tuple[ChoreState, ...] = ()
    failed_jobs: tuple[FailedJob, ...] = ()
    unread: frozenset[str] = frozenset()


def read_figures() -> ServerFigures:
    """Read all figures. Some ms. Raises the errors of a database that is away."""
    readers: dict[str, Callable[[], object]] = {
        "transaction": open_transactions.find_oldest,
        "space": database_limits.read_space,
        "connections": database_limits.read_connections,
        "xid_age": database_limits.read_transaction_id_age,
        "reach": log_reach.read_reach,
        "store": store_memory.read_store_memory,
        "chores": lambda: tuple(chores.list_chores()),
        "failed_jobs": lambda: tuple(failed_jobs.list_failed_jobs()),
    }
    found: dict[str, Any] = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except DatabaseError as error:
            if connection.in_atomic_block or database_outage.is_away(error):
                raise
            logger.warning("the figure %r cannot be read: %s", name, database_outage.describe(error))
        except store_memory.StoreUnknown as error:
            logger.warning("the figure %r cannot be read: %s", name, error)
    return ServerFigures(**found, unread=frozenset(readers.keys() - found.keys()))


class _KeptFigures:
    """The figures of this process, a few seconds old at most."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._figures, self._until = ServerFigures(), -inf

    def get(self) -> ServerFigures:
        if clock() >= self._until:
            self._figures = read_figures()
            self._until = clock() + KEPT_S
        return self._figures


_kept = _KeptFigures()
remembered(_kept.forget)


def get_figures() -> ServerFigures:
    """Return figures that are at most KEPT_S old.

    Raises the errors of a database that is away.
    """
    return _kept.get()


def list_warnings() -> list[ServerWarning]:
    """Return the present warnings, urgent ones first.

    Raises the errors of a database that is away.
    """
    return warn(get_figures())


def warn(figures: ServerFigures) -> list[ServerWarning]:
    """Return the warnings that these figures give, urgent ones first."""
    found = [
        warning
        for warning in (
            _of_transaction(figures.transaction),
            _of_space(figures.space),
            _of_connections(figures.connections),
            _of_xid_age(figures.xid_age),
            *_of_reach(figures.reach),
            _of_store(figures.store),
            *map(_of_chore, figures.chores),
            *_of_failed_jobs(figures.failed_jobs),
        )
        if warning
    ]
    return sorted(found, key=lambda each: not each.is_urgent)


def is_known(name: str, figures: ServerFigures) -> bool:
    """Return whether these figures tell if the warning of this name holds.

    They do not if its figure could not be read.
    """
    return not any(name.startswith(GIVEN_BY[figure]) for figure in figures.unread)


def _of_transaction(oldest: OpenTransaction | None) -> ServerWarning | None:
    if oldest is None or oldest.open_s < HELD_UP_S:
        return None
    if oldest.gid is not None:
        do = f"Connect to database {oldest.database} and end it: COMMIT PREPARED or ROLLBACK PREPARED '{oldest.gid}'."
    elif oldest.pid is not None:
        do = f"Ask its owner to end it, or end it: SELECT pg_terminate_backend({oldest.pid})."
    else:
        do = "Look for it in pg_stat_activity as a superuser."
    text = f"An open transaction holds up learning: {oldest}. Events that came since then wait, none are lost. {do}"
    return ServerWarning("open_transaction", text, oldest.open_s >= URGENT_HELD_UP_S)


def _of_space(space: Space | None) -> ServerWarning | None:
    if space is None:
        return None
    used, days = space.used_share or 0.0, inf if space.days_left is None else space.days_left
    if used < SPACE_SHARE and days >= SPACE_DAYS:
        return None
    grows = f", and it grows by {_bytes(space.growth_bytes or 0)} a day: {days:.1f} days are left"
    text = (
        f"The database has {_bytes(space.n_bytes)} and {_bytes(space.left_bytes or 0)} left"
        f"{grows if days < inf else ''}. Give it more space, or keep less: RETENTION_DAYS, CHECKPOINTS_MAX_BYTES."
    )
    return ServerWarning("database_space", text, used >= URGENT_SPACE_SHARE or days < URGENT_SPACE_DAYS)


def _of_connections(used: Connections | None) -> ServerWarning | None:
    share = used.n_used / max(1, used.n_most) if used else 0.0
    if used is None or share < CONNECTIONS_SHARE:
        return None
    text = (
        f"{used.n_used} of the {used.n_most} connections that {used.whose} may have are in use. At the limit,"
        " requests are refused. Raise the limit, or run fewer web threads."
    )
    return ServerWarning("connections", text, share >= URGENT_CONNECTIONS_SHARE)


def _of_xid_age(oldest: tuple[str, int] | None) -> ServerWarning | None:
    if oldest is None or oldest[1] < XID_AGE:
        return None
    text = (
        f"The oldest transaction id of database {oldest[0]} is {oldest[1] / 1e9:.2f} billion transactions old. At 2.1"
        " billion PostgreSQL stops writing. Find out why autovacuum does not freeze it (an open transaction, a"
        " replication slot), or run VACUUM FREEZE there."
    )
    return ServerWarning("transaction_ids", text, oldest[1] >= URGENT_XID_AGE)


def _of_reach(reach: LogReach | None) -> list[ServerWarning]:
    if reach is None:
        return []
    found = []
    if reach.days_left is not None and reach.days_left < REACH_DAYS:
        text = (
            f"Shard {reach.shard} still needs events that are {reach.needed_days:.1f} days old, because it is frozen"
            f" or its worker is stopped. RETENTION_DAYS is {settings.RETENTION_DAYS}. These events are kept beyond it"
            " until they are learned, so the log grows. Thaw the shard or start its worker."
        )
        found.append(ServerWarning("log_reach", text, reach.days_left < URGENT_REACH_DAYS))
    if reach.kept_days > settings.RETENTION_DAYS + LATE_DAYS:
        text = (
            f"The log has a partition that is {reach.kept_days} days old, and RETENTION_DAYS is"
            f" {settings.RETENTION_DAYS}. The keeper does not drop it. Read its log: an archive may fail."
        )
        found.append(ServerWarning("log_kept", text, False))
    if reach.ahead_days < AHEAD_DAYS:
        text = (
            f"The log has partitions for {max(0, reach.ahead_days)} more days. Housekeeping makes them seven days"
            " ahead. Check that beat and the keeper run."
        )
        found.append(ServerWarning("log_ahead", text, reach.ahead_days < 1))
    return found


def _of_store(store: StoreMemory | None) -> ServerWarning | None:
    share = store.n_bytes / store.n_most if store else 0.0
    if store is None or share < STORE_SHARE:
        return None
    text = (
        f"The view store uses {_bytes(store.n_bytes)} of {_bytes(store.n_most)}. When it is full, lists no longer"
        " change. Give it more memory, or remove what else is stored there."
    )
    return ServerWarning("view_store", text, share >= URGENT_STORE_SHARE)


def _of_chore(chore: ChoreState) -> ServerWarning | None:
    job = chore.name.rstrip("_0123456789")
    name = FREQUENT_JOBS.get(job, chore.name.replace("_", " ").capitalize())
    if chore.n_failures:
        often = "once" if chore.n_failures == 1 else f"{chore.n_failures} times in a row"
        text = f"{name} failed {often}. The last failure: {chore.error}"
        return ServerWarning(f"failed_{chore.name}", text, False)
    if chore.name in HOURLY_CHORES and chore.done_s is not None and chore.done_s > LATE_CHORE_S:
        hours = chore.done_s / 3600
        text = f"{name} was last done {hours:.1f} hours ago. Check that beat and the keeper run."
        return ServerWarning(f"late_{chore.name}", text, False)
    return None


def _of_failed_jobs(failed: Sequence[FailedJob]) -> list[ServerWarning]:
    """Return a warning for each of the first failed jobs, and one for the rest.

    So people are told of each once.
    """
    found = [ServerWarning(f"{job.kind}_failed_{job.number}", _text_of(job), False) for job in failed[:MOST_JOBS]]
    if n_more := len(failed) - len(found):
        text = f"{n_more} more erasures and reverts failed. The overview of the console lists them."
        found.append(ServerWarning("more_failed", text, False))
    return found


def _text_of(job: FailedJob) -> str:
    failed = f"{job.kind.capitalize()} {job.number} failed at {job.failed_at:%F %H:%M} UTC: {_in_short(job.error)}"
    if job.kind == "revert":
        return f"{failed} Nothing was changed. Try it again on its page in the console, or choose another checkpoint."
    if not job.is_named:
        return f"{failed} The actor is not erased. Ask for the erasure again, with the actor's id."
    return (
        f"{failed} The actor is not erased, and has a right to it. When the cause is mended, try it again with"
        f" `{settings.COMMAND} actor retry {job.number}` or on the overview of the console."
    )


def _in_short(error: str) -> str:
    told = error if len(error) <= MOST_ERROR else f"{error[:MOST_ERROR]}..."
    return told if told.endswith(".") else f"{told}."


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"
