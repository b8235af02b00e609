"""Locks of a session: they say that somebody is at work, and the server lets go of them when the worker dies.

a revert's own number    one worker a revert
HISTORY                  shared by whoever folds the recorded log, alone for whoever takes rows out of it
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

LOCK_CLASS = 0x6757  # of our advisory locks
HISTORY = 0  # no row has this number


@contextmanager
def hold(number: int, *, is_shared: bool = False) -> Iterator[bool]:
    """The lock of that number for the time of the block, or False at once where others have it."""
    kind = "_shared" if is_shared else ""
    is_ours = _ask(f"SELECT pg_try_advisory_lock{kind}(%s, %s)", number)
    try:
        yield is_ours
    finally:
        if is_ours:
            _ask(f"SELECT pg_advisory_unlock{kind}(%s, %s)", number)


def _ask(query: str, number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, [LOCK_CLASS, number])
        return bool(cursor.fetchone()[0])
