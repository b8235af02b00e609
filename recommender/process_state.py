"""What a process remembers from one request or task to the next, so that all of it can be forgotten at once.

    caches, pauses, due times ──remembered(forget)──> the register <──forget_all()── whoever starts afresh

State stays in the module that uses it, which says here how it is forgotten. What was not imported remembers nothing.
"""

from collections.abc import Callable
from typing import TypeVar

Forget = TypeVar("Forget", bound=Callable[[], object])

_forgets: list[Callable[[], object]] = []


def remembered(forget: Forget) -> Forget:
    """Enter how a piece of state is forgotten; returns it, so that it can stand above a function."""
    _forgets.append(forget)
    return forget


def forget_all() -> None:
    """Forget everything that this process remembers, as if it had begun just now."""
    for forget in _forgets:
        forget()
