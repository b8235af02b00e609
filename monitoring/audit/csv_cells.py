"""Values that are safe in a spreadsheet."""

from datetime import UTC, datetime
from typing import Any

from monitoring.audit.hash_chain import canonical


def cell(value: Any) -> Any:
    """Return a value for a cell. A text that looks like a formula gets an apostrophe.

    >>> cell("=1+1")
    "'=1+1"
    >>> cell({"n": 1})
    '{"n":1}'
    """
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    text = value if isinstance(value, str) else canonical(value)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) or text[:1] in ("\t", "\r", "\n") else text
