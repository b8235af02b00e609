"""Events for the log, made short."""

from dataclasses import fields

from recommender.core.vocabulary import Kind
from recommender.log.event_log import NewEvents


def events(actors, items, **columns) -> NewEvents:
    """So many clicks; other columns by name, nothing where they are not given."""
    n = len(actors)
    given = {"actor": list(actors), "item": list(items), "kind": [int(Kind.CLICK)] * n} | columns
    return NewEvents(**{field.name: given.get(field.name, [None] * n) for field in fields(NewEvents)})


def clicks(n, *, start=0, item="story") -> NewEvents:
    """Clicks on one item by n actors of their own."""
    return events([f"actor-{number}" for number in range(start, start + n)], [item] * n)
