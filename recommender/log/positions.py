"""Positions in the log: the order in which events became visible.

Serial numbers become visible out of order: of two writers, the one with the higher number may commit first. A reader
that remembers only the highest number it saw would skip the other. So the log is ordered by the id of the writing
transaction, then by number. It is read only below READABLE_BEFORE. Every transaction below that has ended, so nothing
can appear there any more. Rows are never updated, so each keeps its position for ever. A generation before the
transaction's id keeps this order when the log moves to another server (`recommender.log.origin`). On a server that is
not known yet, nothing is appended and no new event is read.

A transaction that has written and stays open delays the reader for as long, in any database of the server. This is a
visible lag and loses nothing.

Partitions are chosen by time but the position is not. So the reader gives PostgreSQL a bound for the search:
`PARTITION_SLACK` before the stream time already read. A row not yet read was written by a later transaction than the
last row read. The statement that wrote it began at most one statement_timeout (60 s, config/settings.py) before that
later transaction got its id. One day covers this, and also a clock set back by hours.
"""

from datetime import timedelta
from typing import NamedTuple

from recommender.log.statements import fetch

PARTITION_SLACK = timedelta(days=1)
# in SQL, each asked for once a statement
WRITTEN_AT = "(SELECT recommender_xid())"
READABLE_BEFORE = "(SELECT recommender_readable_before())"


class Position(NamedTuple):
    """A place in the log: after the event `seq` written by transaction `xid`.

    (0, 0) is the beginning. `xid` contains the generation (`recommender.log.origin`).
    """

    xid: int = 0
    seq: int = 0


def last_seq() -> int:
    """Return the highest number given to an event so far, committed or not."""
    last, is_called = fetch("SELECT last_value, is_called FROM recommender_event_seq", [])
    return int(last) if is_called else 0
