"""Shapes that all answers share: pages of rows, and moments."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first. `before` continues the list, None at its end."""

    rows: list[Any]
    before: int | None


def moment(at_ms: int) -> datetime | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else None


def paged(rows: Any, limit: int, describe: Any) -> Page:
    limit = max(1, min(limit, MAX_LIMIT))
    found = list(rows[: limit + 1])
    shown = found[:limit]
    return Page([describe(each) for each in shown], shown[-1].pk if len(found) > limit else None)
