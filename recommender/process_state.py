"""What a process remembers from one request or task to the next: how it is forgotten, and by which clock it ages.

    caches, pauses, due times ──remembered(forget)──> the register <──forget_all()── whoever starts afresh

State stays in the module that uses it, which says here how it is forgotten. What was not imported remembers nothing.
Whatever is due or old is so by `clock`, or by another that its owner was handed.
"""

import time
from collections.abc import Callable
from typing import TypeVar

Forget = TypeVar("Forget", bound=Callable[[], object])
Clock = Callable[[], float]
"""Seconds that never run backwards, from any beginning."""

_forgets: list[Callable[[], object]] = []


def remembered(forget: Forget) -> Forget:
    """Enter how a piece of state is forgotten; returns it, so that it can stand above a function."""
    _forgets.append(forget)
    return forget


def forget_all() -> None:
    """Forget everything that this process remembers, as if it had begun just now."""
    for forget in _forgets:
        forget()


class ProcessClock:
    """The one clock of a process; `read` is where its seconds come from."""

    def __init__(self) -> None:
        self.read: Clock = time.monotonic

    def __call__(self) -> float:
        return self.read()


clock = ProcessClock()
