"""The buckets of actors, by which shards divide the log.

A bucket is the first six bits of the actor's key, so no one outside can fill one shard. Versions up to 0.1.0 took the
bucket from a public checksum of the id. Their rows keep that bucket, so a row belongs to a bucket as follows:

    written by this version (is_crawler is not NULL)   the stored bucket
    older, up to the position of the migration         the stored bucket: a learner may have taken the row by it
    older, after that position                         the keyed bucket, computed from the actor's id

The last kind comes from old web processes that still run. The rule depends on nothing but the row and its position.
So every row belongs to one shard, each refold takes the same rows, and a step may lie on both sides of the migration.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from recommender import ids
from recommender.log.statements import fetch

N_BUCKETS = 64  # actors are divided into buckets, and each shard takes whole buckets
_SHIFT = 58  # the first bits: hash tables of the core use the last ones

IS_MOVED = "(is_crawler IS NULL AND xid > (SELECT xid FROM recommender_log_change))"
"""SQL condition for rows whose stored bucket does not count."""


def bucket_of(key: int) -> int:
    """Return the bucket of an actor's key.

    >>> bucket_of(0), bucket_of(2**64 - 1)
    (0, 63)
    """
    return key >> _SHIFT


def buckets_of(keys: NDArray[np.uint64]) -> NDArray[np.int8]:
    """Return the buckets of actors' keys, (n,)."""
    return (keys >> np.uint64(_SHIFT)).astype(np.int8)


def buckets_in(shard: int, shards: int) -> list[int]:
    """Return the buckets of a shard."""
    return list(range(shard, N_BUCKETS, shards))


def shard_of(actor: str, shards: int) -> int:
    """Return the shard that learns an actor's new events."""
    return bucket_of(ids.encoder().key(actor)) % shards


def shards_of(actor: str, shards: int) -> list[int]:
    """Return every shard that may have learned from an actor, the present one first.

    There are two if the log is older than keyed buckets.
    """
    present, (has_older,) = shard_of(actor, shards), fetch("SELECT xid > '0' FROM recommender_log_change", [])
    first = zlib.crc32(actor.encode()) % N_BUCKETS % shards
    return [present] if first == present or not has_older else [present, first]
