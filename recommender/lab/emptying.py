"""Empty a database of events and of all learned state, to rehearse again."""

from django.db import connection

from recommender.learning import learner

_EMPTIED = (
    *(
        "event",
        "event_key",
        "step",
        "eventverdict",
        "watched",
        "learner",
        "checkpoint",
        "piece",
        "decision",
        "revert",
    ),
    "exclusion",
)


def empty() -> None:
    """Empty the log and everything made from it, and forget the warm learner.

    Rows that refer to these go too. Items, keys and partitions stay.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(f'recommender_{name}' for name in _EMPTIED)} CASCADE")
    learner.forget()
