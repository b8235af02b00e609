"""The database's size and growth, connections and transaction ids.

    DatabaseSize, one row an hour ──> growth a day ──> days until DATABASE_MAX_BYTES, or until the disk is full

On a managed server only the size is known, so DATABASE_MAX_BYTES says how large it may become. Where PostgreSQL is
reached by a unix socket, its disk is on this machine, and the free space is read there.
"""

import os
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

GROWTH_DAYS = 7  # over which growth is measured, so that a quiet Sunday counts for what it is
MIN_SPAN_S = 6 * 3600  # growth is not known before so much time has passed
KEPT_DAYS = 30

_SAMPLE = "INSERT INTO recommender_databasesize (n_bytes) VALUES (pg_database_size(current_database()))"
_PRUNE = "DELETE FROM recommender_databasesize WHERE at < now() - %s * interval '1 day'"
_GROWTH = """
SELECT pg_database_size(current_database()), extract(epoch FROM now() - at)::float8, n_bytes
FROM (SELECT now() AS asked_at) AS asked LEFT JOIN LATERAL (
    SELECT at, n_bytes FROM recommender_databasesize WHERE at >= now() - %s * interval '1 day' ORDER BY at LIMIT 1
) AS oldest ON true
"""
# Connections reserved for superusers are not for this role. Every role may see all of these numbers.
_CONNECTIONS = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database)::int,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user), rolconnlimit,
       (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()), datconnlimit
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""
_XID_AGE = "SELECT datname, age(datfrozenxid)::bigint FROM pg_database ORDER BY 2 DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Space:
    """The space of the database.

    left_bytes: until the limit or the end of the disk, None if neither is known.
    growth_bytes: a day, None before it is known.
    """

    n_bytes: int
    left_bytes: int | None
    growth_bytes: float | None

    @property
    def days_left(self) -> float | None:
        """Return the days until it is full.

        It is None if it does not grow or nothing is known.
        """
        if self.left_bytes is None or not self.growth_bytes or self.growth_bytes <= 0:
            return None
        return max(0.0, self.left_bytes / self.growth_bytes)

    @property
    def used_share(self) -> float | None:
        """Return the used share of the space, from 0 to 1, None if its end is not known."""
        return None if self.left_bytes is None else self.n_bytes / max(1, self.n_bytes + max(0, self.left_bytes))


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections in use, and the limit on them.

    whose: the server, the role or the database, whichever has the least left.
    """

    n_used: int
    n_most: int
    whose: str


def sample_size() -> None:
    """Record the size now, and forget old records."""
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE)
        cursor.execute(_PRUNE, [KEPT_DAYS])


def read_space() -> Space:
    """Return the size, the space left and the growth.

    Some ms, because PostgreSQL looks at every file.
    """
    with connection.cursor() as cursor:
        cursor.execute(_GROWTH, [GROWTH_DAYS])
        n_bytes, span_s, n_before = cursor.fetchone()
    growth = 86_400 * (n_bytes - n_before) / span_s if span_s is not None and span_s >= MIN_SPAN_S else None
    limits = [n for n in (_left_of_setting(n_bytes), _left_on_disk()) if n is not None]
    return Space(n_bytes, min(limits, default=None), growth)


def read_connections() -> Connections:
    """Return the connections in use where they are closest to a limit."""
    with connection.cursor() as cursor:
        cursor.execute(_CONNECTIONS)
        n_all, n_most, n_role, role_limit, n_database, database_limit = cursor.fetchone()
    known = [Connections(n_all, n_most, "the server")]
    if role_limit > 0:
        known.append(Connections(n_role, role_limit, "the role"))
    if database_limit > 0:
        known.append(Connections(n_database, database_limit, "the database"))
    return max(known, key=lambda each: each.n_used / max(1, each.n_most))


def read_transaction_id_age() -> tuple[str, int]:
    """Return the database with the oldest unfrozen transaction id, and its age."""
    with connection.cursor() as cursor:
        cursor.execute(_XID_AGE)
        name, age = cursor.fetchone()
    return str(name), int(age)


def _left_of_setting(n_bytes: int) -> int | None:
    most = settings.DATABASE_MAX_BYTES
    return most - n_bytes if most else None


def _left_on_disk() -> int | None:
    """Return the free bytes of PostgreSQL's disk, if it is this machine's.

    It is None if this role may not know where the disk is.
    """
    if not str(connection.settings_dict["HOST"]).startswith("/"):
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'usage')"
            " THEN current_setting('data_directory') END"
        )
        (folder,) = cursor.fetchone()
    try:
        disk = os.statvfs(folder or "")
    except OSError:  # another user's folder: the setting is the way to know
        return None
    return disk.f_bavail * disk.f_frsize
