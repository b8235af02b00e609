"""Read ahead in a thread while the caller works on the item before.

    make() ──> the reader's thread, with a database connection of its own ──> at most one item waits ──> the caller

PostgreSQL works in another process, so reading costs the caller almost nothing. Within a transaction the caller reads
for itself, because another connection would not see its rows.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from django.db import connection, connections

Item = TypeVar("Item")


@contextlib.contextmanager
def read_ahead(make: Callable[[], Generator[Item, None, None]]) -> Iterator[Iterator[Item]]:
    """Yield the items of `make()`, made one ahead by a thread.

    An error of the thread is raised where its item would have come. At the end of the block the thread has ended and
    its connection is closed. At most three items exist: one is in use, one waits, and one is in the making.
    """
    if connection.in_atomic_block:
        yield make()
        return
    reader = _Reader(make)
    try:
        yield reader.items()
    finally:
        reader.stop()


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _End:
    pass


class _Reader(Generic[Item]):
    def __init__(self, make: Callable[[], Generator[Item, None, None]]) -> None:
        self._make = make
        self._made: SimpleQueue[Item | _Failed | _End] = SimpleQueue()
        self._may_make = threading.Semaphore(2)  # one waits, one is in the making
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._thread.start()

    def items(self) -> Iterator[Item]:
        while not isinstance(item := self._made.get(), _End):
            if isinstance(item, _Failed):
                raise item.error
            self._may_make.release()
            yield item

    def stop(self) -> None:
        """Wait until the thread has ended.

        It takes as long as the item in the making.
        """
        self._is_over.set()
        self._may_make.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.closing(self._make()) as made:
                while self._may_make.acquire() and not self._is_over.is_set():
                    self._made.put(next(made, _End()))
        except BaseException as error:  # the caller raises it
            self._made.put(_Failed(error))
        finally:
            connections.close_all()
