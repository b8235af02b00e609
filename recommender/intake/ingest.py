"""From a parsed body to committed events: the last thing a request does before it is acknowledged."""

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from django.conf import settings

from recommender import counters, wake_workers
from recommender.database_outage import database
from recommender.errors import BacklogFull
from recommender.intake.event_rows import Parsed
from recommender.learning import learner_state
from recommender.log import event_log
from recommender.process_state import Clock, clock, remembered
from recommender.serving import list_ids

BACKLOG_CHECK_EVERY_S = 0.5


class Ingested(NamedTuple):
    n_accepted: int
    n_duplicates: int


class Backlog:
    """How far the learner is behind, asked at most every half second in a process."""

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self.n_events = 0
        self._ask_at = -inf

    def check(self) -> None:
        """Raises BacklogFull, Unavailable."""
        now = self.now()
        if now >= self._ask_at:
            with database():
                self.n_events = learner_state.get_backlog()
            self._ask_at = now + BACKLOG_CHECK_EVERY_S
        if self.n_events >= settings.BACKLOG_LIMIT:
            raise BacklogFull

    def forget(self) -> None:
        """Ask at the next check."""
        self._ask_at = -inf


backlog = Backlog()
remembered(backlog.forget)


def ingest(*, parsed: Parsed) -> Ingested:
    """Store what was accepted of a body; on return it is committed.

    1. Refuse while the learner is too far behind.
    2. Append; what has a known event_id is a duplicate.
    3. Count, credit clicks on recommendations, and wake the learners whose actors are among the events.
    """
    events = parsed.events
    n_written = 0
    if len(events):
        backlog.check()
        with database():
            n_written = event_log.append(events)
    n_duplicates = parsed.n_duplicates + len(events) - n_written
    for rejection in parsed.rejected:
        counters.REJECTED.labels(rejection["code"]).inc()
    counters.ACCEPTED.inc(n_written)
    if n_duplicates:
        counters.DUPLICATES.inc(n_duplicates)
    if n_written:
        list_ids.credit(events)
        for shard in _shards_of(events.actor):
            wake_workers.wake(shard)
    return Ingested(n_written, n_duplicates)


def _shards_of(actors: list[str]) -> Collection[int]:
    shards = settings.SHARDS
    if shards == 1:
        return (0,)
    return {event_log.shard_of(actor, shards) for actor in actors}
