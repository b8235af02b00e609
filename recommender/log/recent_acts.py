"""What an actor did lately, read from the log when a list is made for it.

The log has it the moment an event is acknowledged, so the next list knows a click that nothing has learned yet. No
copy is kept anywhere: no bound to watch, nothing to lose with the store. One indexed read of at most two or three
partitions, 0.1 ms; prepared, since to plan it again takes longer than to do it.
"""

from typing import NamedTuple

from recommender.core.vocabulary import Kind
from recommender.log import event_log

MAX_EVENTS = 300  # of an actor's last day, newest first; what it did before them may be listed again
_READ = """
SELECT item, kind, (extract(epoch FROM received_at) * 1000)::bigint FROM recommender_event
WHERE actor = %s AND received_at >= now() - interval '1 day' AND kind <> %s
  AND received_at < now() + interval '1 hour' -- so that partitions made ahead are not searched
ORDER BY seq DESC LIMIT %s
"""


class Recent(NamedTuple):
    """Different items, newest first. `acted_on`: with when (ms since 1970), without what was taken back; `seen`: all,
    which no list for this actor shows."""

    acted_on: list[tuple[str, int]]
    seen: frozenset[str]


NOTHING = Recent([], frozenset())


def recent_of(actor: str) -> Recent:
    """Empty for an actor nobody has heard of. Raises what the database raises."""
    rows = event_log.fetch_all(_READ, [actor, Kind.EXPOSURE, MAX_EVENTS])
    acted_on: dict[str, int] = {}
    undone: set[str] = set()
    for item, kind, at_ms in rows:
        if kind == Kind.UNDO and item not in acted_on:
            undone.add(item)
        elif item not in undone:
            acted_on.setdefault(item, at_ms)
    return Recent(list(acted_on.items()), frozenset(acted_on) | undone)
