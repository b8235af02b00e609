"""Positions of a finding's events in the log, as columns.

Rows would cost a second for tens of thousands of events.
"""

from typing import NamedTuple

from recommender.log import event_log
from recommender.log.event_log import Position

_NEWEST = """
SELECT coalesce(array_agg(shard), '{}'), coalesce(array_agg(xid), '{}'), coalesce(array_agg(seq), '{}'),
       coalesce(array_agg(received_ms), '{}')
FROM (
    SELECT shard, xid, seq, received_ms FROM monitoring_findingevent WHERE finding_id = %b::bigint
    ORDER BY received_ms DESC, id DESC LIMIT %b::bigint
) AS newest
"""


class FindingPlaces(NamedTuple):
    """The newest events of a finding, newest first, as lists of one length."""

    shards: list[int]
    xids: list[int]
    seqs: list[int]
    received_ms: list[int]

    def positions(self, limit: int) -> list[Position]:
        """Return the positions of the first `limit` events."""
        return [Position(*each) for each in zip(self.xids[:limit], self.seqs[:limit], strict=True)]


def read_newest(finding_id: int, limit: int | None = None) -> FindingPlaces:
    """Read the positions of the newest events, at most `limit`.

    One statement, 1 us an event.
    """
    return FindingPlaces(*event_log.fetch(_NEWEST, [finding_id, limit]))
