"""Commit the events of a parsed body, the last work before the acknowledgement."""

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from django.conf import settings

from recommender import counters, database_clock, wake_workers
from recommender.database_outage import database
from recommender.errors import BacklogFull
from recommender.intake.event_rows import CONFLICT, SHAPE, Parsed
from recommender.intake.json_rows import Rejection
from recommender.learning import learner_state
from recommender.log import event_log, id_secret, origin
from recommender.log.buckets import bucket_of
from recommender.log.event_log import Stored
from recommender.process_state import Clock, clock, remembered
from recommender.serving import list_ids

BACKLOG_CHECK_EVERY_S = 0.5
NOTHING_STORED = Stored([], [], [])


class Ingested(NamedTuple):
    """The outcome of a body: its rejections too, in the order of the body."""

    n_accepted: int
    n_duplicates: int
    rejected: list[Rejection]


class Backlog:
    """The number of events the learner is behind, read at most every half second.

    Each process reads it for itself. At the same time it compares the server's counter with the learners' positions,
    because an event below them would never be learned.
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
                origin.current()
                self.n_events = learner_state.get_backlog()
                database_clock.learn()
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

    1. Refuse while the learner is too far behind, or if the ids were hashed with another secret.
    2. Judge the lists that events name.
    3. Append the events. One that is stored already is a duplicate, or a conflict if it has another content.
    4. Count them, credit clicks on recommendations, and wake the learners of their actors.
    """
    events, stored = parsed.events, NOTHING_STORED
    if len(events):
        backlog.check()
        list_ids.judge_all(events, now_s=database_clock.unix_s())
        with database():
            id_secret.require()
            stored = event_log.store(list_ids.shortened(events), parsed.keys)
    conflicts = [SHAPE.rejection(parsed.places[place], CONFLICT) for place in stored.conflicts]
    rejected = sorted([*parsed.rejected, *conflicts], key=lambda each: each["index"])
    n_written = stored.n_written
    n_duplicates = len(events) - n_written - len(conflicts)
    for rejection in rejected:
        counters.REJECTED.labels(rejection["code"]).inc()
    counters.ACCEPTED.inc(n_written)
    if n_duplicates:
        counters.DUPLICATES.inc(n_duplicates)
    if n_written:
        list_ids.credit(events, stored.list_validity)
        for shard in _shards_of(parsed.keys.actor):
            wake_workers.wake(shard)
    return Ingested(n_written, n_duplicates, rejected)


def _shards_of(keys: Collection[int]) -> Collection[int]:
    shards = settings.SHARDS
    return (0,) if shards == 1 else {bucket_of(key) % shards for key in keys}
