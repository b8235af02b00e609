"""Session locks: each shows that a worker is busy, and ends when it dies.

PostgreSQL releases the lock of a session that ends.

    a revert's own number    one worker per revert
    RETRAIN                  one trial at a time
    HISTORY                  shared by all who fold the recorded log, exclusive for a worker that removes rows from it
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

LOCK_CLASS = 0x6757  # the class of these locks, different from that of other locks
HISTORY = 0  # no row has this number
RETRAIN = -1  # no row has this number


@contextmanager
def hold(number: int, *, is_shared: bool = False, lock_class: int = LOCK_CLASS) -> Iterator[bool]:
    """Hold this lock during the block, or yield False if another session has it.

    It does not wait. It takes no transaction id, so it delays no reader of the log.
    """
    kind = "_shared" if is_shared else ""
    is_ours = _ask(f"SELECT pg_try_advisory_lock{kind}(%s, %s)", lock_class, number)
    try:
        yield is_ours
    finally:
        if is_ours:
            _ask(f"SELECT pg_advisory_unlock{kind}(%s, %s)", lock_class, number)


@contextmanager
def wait(number: int, *, is_shared: bool = False, lock_class: int = LOCK_CLASS) -> Iterator[None]:
    """Wait for this lock, and hold it during the block.

    It waits for as long as a statement may last, and takes no transaction id. Inside a transaction the lock stays
    until the transaction ends, for an error in it would forbid to unlock. Raises OperationalError.
    """
    kind = "_shared" if is_shared else ""
    is_inside = connection.in_atomic_block
    _ask(f"SELECT pg_advisory{'_xact' if is_inside else ''}_lock{kind}(%s, %s)", lock_class, number)
    try:
        yield
    finally:
        if not is_inside:
            _ask(f"SELECT pg_advisory_unlock{kind}(%s, %s)", lock_class, number)


def _ask(query: str, *key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, key)
        return bool(cursor.fetchone()[0])
