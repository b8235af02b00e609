"""Short ways to make events for the log."""

from dataclasses import fields

from recommender.core.vocabulary import Kind
from recommender.log.event_log import NewEvents


def events(actors, items, **columns) -> NewEvents:
    """Make a click for each actor and item.

    Other columns are given by name. They are empty if they are not given.
    """
    n = len(actors)
    given = {"actor": list(actors), "item": list(items), "kind": [int(Kind.CLICK)] * n} | columns
    return NewEvents(**{field.name: given.get(field.name, [None] * n) for field in fields(NewEvents)})


def clicks(n, *, start=0, item="story") -> NewEvents:
    """Make n clicks on one item, each by an actor of its own."""
    return events([f"actor-{number}" for number in range(start, start + n)], [item] * n)
