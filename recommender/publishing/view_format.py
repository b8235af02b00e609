"""The format of the published view, which two versions may share.

    a newer learner ──> store: head, boards, excerpts ──unpack──> a web process of this version, or None

A web process of one version reads what a learner of another version published. Fields are only ever added, with a
default, so both read each other's views. A change that the older version would misread raises FORMAT. An older web
process then treats the view as unreadable: it serves its last copy, or answers that there is no view.

Web processes import this module, so it must not import the numerical core.
"""

import logging
from typing import Any, TypeVar

import msgspec

from recommender.process_state import remembered

FORMAT = 1

logger = logging.getLogger(__name__)
T = TypeVar("T")

_told: set[str] = set()


@remembered
def forget() -> None:
    """Log unreadable views again."""
    _told.clear()


def unpack(packed: bytes | None, kind: type[T]) -> T | None:
    """Return a part of the view, or None if this version cannot read it.

    That is logged once for each kind, until the kind can be read again. Nothing gives None too.
    """
    if not packed:
        return None
    try:
        found: Any = msgspec.msgpack.decode(packed, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _tell(kind, str(error))
        return None
    if (written := getattr(found, "format", FORMAT)) > FORMAT:
        _tell(kind, f"it has format {written}, this version reads up to {FORMAT}: upgrade this node")
        return None
    _told.discard(kind.__name__)
    return found  # type: ignore[no-any-return]  # decode checked it


def _tell(kind: type[Any], why: str) -> None:
    if kind.__name__ not in _told:
        _told.add(kind.__name__)
        logger.warning("a %s in the store cannot be read, another version wrote it: %s", kind.__name__, why)
