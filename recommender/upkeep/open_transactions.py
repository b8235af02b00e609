"""Name the transaction that holds up the reader of the event log.

The log is read below `pg_snapshot_xmin` only (`recommender.log.event_log`). That is the oldest transaction with an
id, in any database of the server. A transaction has an id from its first write on. Prepared transactions keep theirs
until someone ends them. Transactions that only read, replication slots and standbys with feedback hold up vacuum, but
not the reader.

Any role may see the locks and the process of every transaction. Its state and age are hidden from a role that is
neither the same user nor a member of pg_read_all_stats. The warning then says so.
"""

from dataclasses import dataclass

from django.db import connection

from recommender.process_state import Clock, clock, remembered

_OLDEST = """
SELECT o.xid, l.pid, a.datname, a.usename, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
       p.gid, p.database, p.owner, extract(epoch FROM clock_timestamp() - p.prepared)::float8,
       l.pid = pg_backend_pid()
FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xid) AS o
LEFT JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.transactionid::text::bigint = o.xid % 4294967296
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts AS p ON p.transaction::text::bigint = o.xid % 4294967296
WHERE l.transactionid IS NOT NULL OR p.gid IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The oldest transaction that has written and is still open.

    pid: the server's process, None for a prepared transaction. state, age_s: None if the role may not see them.
    seen_s: for how long this process has seen it. gid: the name of a prepared transaction.
    """

    xid: int
    pid: int | None
    database: str | None
    user: str | None
    application: str
    state: str | None
    age_s: float | None
    seen_s: float
    gid: str | None

    @property
    def open_s(self) -> float:
        """Return for how long it is open, at least."""
        return max(self.age_s or 0.0, self.seen_s)

    def __str__(self) -> str:
        if self.gid is not None:
            who = f"the prepared transaction '{self.gid}' of {self.user} in database {self.database}"
            return f"{who}, prepared {_in_words(self.open_s)} ago"
        if self.pid is None:
            return f"transaction {self.xid}, open for {_in_words(self.open_s)}, whose process could not be found"
        named = f", {self.application}" if self.application else ""
        who = f"process {self.pid} of {self.user or 'an unknown user'} in database {self.database}{named}"
        hidden = "" if self.state else "; its state and age are hidden from this role without pg_read_all_stats"
        at_least = "" if self.age_s is not None else "at least "
        return f"{who}, {self.state or 'in a transaction'}, open for {at_least}{_in_words(self.open_s)}{hidden}"


class OldestSeen:
    """For how long this process has seen the same transaction as the oldest."""

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self.forget()

    def forget(self) -> None:
        self._xid, self._since = -1, 0.0

    def seconds(self, xid: int) -> float:
        if xid != self._xid:
            self._xid, self._since = xid, self.now()
        return self.now() - self._since


_seen = OldestSeen()
remembered(_seen.forget)


def find_oldest() -> OpenTransaction | None:
    """Return the oldest open transaction that has written, or None. 1 ms.

    The transaction of the caller itself is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST)
        row = cursor.fetchone()
    if row is None or row[11]:
        return None
    xid, pid, database, user, application, state, age_s, gid, of_database, owner, prepared_s, _ = row
    if gid is not None:
        return OpenTransaction(xid, None, of_database, owner, "", None, prepared_s, _seen.seconds(xid), gid)
    return OpenTransaction(xid, pid, database, user, application or "", state, age_s, _seen.seconds(xid), None)


def _in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
