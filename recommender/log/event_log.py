"""The event log: append events, and read them back in commit order.

    append(events) ─INSERT─> recommender_event (a partition a day)
    read(after=position) ──> the next events below every transaction still open ──> LogSlice, the columns of a step

The log is the source of truth. Rows are never updated. This module hands on what the other rooms use:

    event_keys   the hashes of an event, made once when it comes in
    appending    one statement writes the events, and each event id counts once
    positions    the order of the log, and why a reader skips nothing
    buckets      which shard an event belongs to
    reading      the columns that are learned from, never the texts of actors or their browsers
    erasing      remove an actor

`lookups` and `recent_acts` read events for people and for lists. `partitions` keeps the days.
"""

from recommender.log.appending import NewEvents, Stored, append, append_at, store
from recommender.log.buckets import N_BUCKETS, shard_of, shards_of
from recommender.log.erasing import actor_steps, count_of, erase
from recommender.log.event_keys import EventKeys
from recommender.log.positions import PARTITION_SLACK, Position, last_seq
from recommender.log.reading import LogSlice, read, read_at, read_step
from recommender.log.statements import fetch, fetch_all, nullable

__all__ = [
    "N_BUCKETS",
    "PARTITION_SLACK",
    "EventKeys",
    "LogSlice",
    "NewEvents",
    "Position",
    "Stored",
    "actor_steps",
    "append",
    "append_at",
    "count_of",
    "erase",
    "fetch",
    "fetch_all",
    "last_seq",
    "nullable",
    "read",
    "read_at",
    "read_step",
    "shard_of",
    "shards_of",
    "store",
]
