"""Forgetting all that was taken in and learned, so that a rehearsal on a database of its own can begin again."""

from django.db import connection

from recommender.learning import learner

_EMPTIED = (
    *("event", "event_key", "step", "eventverdict", "watched", "learner", "checkpoint", "decision", "revert"),
    "exclusion",
)


def empty() -> None:
    """Empty the log and all that came of it, with the rows that refer to these, and forget the warm learner. Items,
    keys and partitions stay."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(f'recommender_{name}' for name in _EMPTIED)} CASCADE")
    learner.forget()
