"""Locks of a session: they say that somebody is at work, and the server lets go of them when the worker dies.

a revert's own number    one worker a revert
RETRAIN                  one trial at a time
HISTORY                  shared by whoever folds the recorded log, alone for whoever takes rows out of it
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

LOCK_CLASS = 0x6757  # of those here; others have their own
HISTORY = 0  # no row has this number
RETRAIN = -1  # nor this


@contextmanager
def hold(number: int, *, is_shared: bool = False, lock_class: int = LOCK_CLASS) -> Iterator[bool]:
    """The lock of that number for the time of the block, or False at once where others have it. Takes no transaction
    id, so it holds no reader of the log up."""
    kind = "_shared" if is_shared else ""
    is_ours = _ask(f"SELECT pg_try_advisory_lock{kind}(%s, %s)", lock_class, number)
    try:
        yield is_ours
    finally:
        if is_ours:
            _ask(f"SELECT pg_advisory_unlock{kind}(%s, %s)", lock_class, number)


def _ask(query: str, *key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, key)
        return bool(cursor.fetchone()[0])
