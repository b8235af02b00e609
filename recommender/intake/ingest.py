"""Commit the events of a parsed body, the last work before the acknowledgement."""

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
    """The number of events the learner is behind, read at most every half second.

    Each process reads it for itself.
    """

    def __init__(self, now: Clock = clock) -> None:
        self.now = now
        self.n_events = 0
        self._ask_at = -inf

    def check(self) -> None:
        """Raise BacklogFull if too many events wait, or Unavailable without a database."""
        now = self.now()
        if now >= self._ask_at:
            with database():
                self.n_events = learner_state.get_backlog()
            self._ask_at = now + BACKLOG_CHECK_EVERY_S
        if self.n_events >= settings.BACKLOG_LIMIT:
            raise BacklogFull

    def forget(self) -> None:
        """Make the next check read the backlog again."""
        self._ask_at = -inf


backlog = Backlog()
remembered(backlog.forget)


def ingest(*, parsed: Parsed) -> Ingested:
    """Store the accepted events of a body.

    They are committed on return.

    1. Refuse while the learner is too far behind.
    2. Append the events. An event with a known event_id is a duplicate.
    3. Count them, credit clicks on recommendations, and wake the learners of their actors.
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
