"""Read an actor's recent acts from the log when a list is made for it.

The log has an event the moment it is acknowledged. So the next list reflects a click that no learner has taken yet.
There is no other copy, so there is no memory to bound and nothing to lose with the view store. One indexed read of at
most two or three partitions takes 0.1 ms. The statement is prepared, because planning it takes longer than running
it.
"""

from typing import NamedTuple

from recommender.core.vocabulary import Kind
from recommender.log import event_log

MAX_EVENTS = 300  # the newest of an actor's last day (earlier items may be listed again)
_READ = """
SELECT item, kind, (extract(epoch FROM received_at) * 1000)::bigint FROM recommender_event
WHERE actor = %s AND received_at >= now() - interval '1 day' AND kind <> %s
  AND received_at < now() + interval '1 hour' -- so that partitions made ahead are not searched
ORDER BY seq DESC LIMIT %s
"""


class Recent(NamedTuple):
    """An actor's different items, newest first.

    acted_on: items with their time (ms since 1970), without those whose act was undone.
    seen: all items, which no list for this actor shows.
    """

    acted_on: list[tuple[str, int]]
    seen: frozenset[str]


NOTHING = Recent([], frozenset())


def recent_of(actor: str) -> Recent:
    """Return an actor's recent items.

    An actor that is not in the log has none. Raises the errors of the database.
    """
    rows = event_log.fetch_all(_READ, [actor, Kind.EXPOSURE, MAX_EVENTS])
    acted_on: dict[str, int] = {}
    undone: set[str] = set()
    for item, kind, at_ms in rows:
        if kind == Kind.UNDO and item not in acted_on:
            undone.add(item)
        elif item not in undone:
            acted_on.setdefault(item, at_ms)
    return Recent(list(acted_on.items()), frozenset(acted_on) | undone)
