"""Short ways to make events for the log, and to name the actors of read ones."""

from recommender.core.vocabulary import Kind
from recommender.log import lookups
from recommender.log.event_log import LogSlice, NewEvents, Position


def events(actors, items, **columns) -> NewEvents:
    """Make a click for each actor and item.

    Other columns are given by name. They are empty if they are not given.
    """
    given = {"actor": list(actors), "item": list(items), "kind": [int(Kind.CLICK)] * len(actors)} | columns
    return NewEvents(**given)


def clicks(n, *, start=0, item="story") -> NewEvents:
    """Make n clicks on one item, each by an actor of its own."""
    return events([f"actor-{number}" for number in range(start, start + n)], [item] * n)


def actors_of(part: LogSlice) -> list[str]:
    """Return the ids of the actors of read events, whose columns have only keys."""
    positions = [Position(int(xid), int(seq)) for xid, seq in zip(part.xid, part.seq, strict=True)]
    return [act.actor for act in lookups.acts_at(positions, since_ms=1)]
