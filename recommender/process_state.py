"""The register of a process's memory, and the clock by which that memory ages.

    caches, pauses, due times ──remembered(forget)──> the register <──forget_all()── a caller that starts afresh

State stays in the module that uses it. The module registers here how to forget it. A module that was never imported
remembers nothing. All due times and ages are read from `clock`, or from a clock that the owner was given.
"""

import time
from collections.abc import Callable
from typing import TypeVar

Forget = TypeVar("Forget", bound=Callable[[], object])
Clock = Callable[[], float]
"""Return seconds since some moment. They never run backwards."""

_forgets: list[Callable[[], object]] = []


def remembered(forget: Forget) -> Forget:
    """Register a function that forgets a piece of state, and return that function.

    It can be used as a decorator.
    """
    _forgets.append(forget)
    return forget


def forget_all() -> None:
    """Forget everything that this process remembers, as if it had just started."""
    for forget in _forgets:
        forget()


class ProcessClock:
    """The one clock of a process.

    Its seconds come from the function `read`.
    """

    def __init__(self) -> None:
        self.read: Clock = time.monotonic

    def __call__(self) -> float:
        return self.read()


clock = ProcessClock()
