"""Items that leave the served lists before a learner publishes new ones.

    an item is hidden or deleted ──commit──> withhold ──> store: a set a shard ──> readers leave these items out
    it may be listed again       ──commit──> give_back ─────────────┘
    Publisher: read its set ──> read the catalogue, write boards and excerpt ──> FORGET_AFTER_S ──> empty the set

The database decides what is listed, and the publisher reads it. These sets only bridge the time until then, and that
time is long if a worker is stopped. A publisher empties its set when every web process has the new lists
(`Bridge`). `recommender.publishing.published_boards.ViewReader` reads the sets.
"""

import logging
from collections.abc import Iterable
from math import inf
from typing import Any

import redis
from django.conf import settings
from django.db import transaction

from recommender.process_state import clock
from recommender.publishing.published_boards import connect, withheld_key

MAX_WITHHELD = 10_000  # items of a shard's set. Of a site that hides more at once, the rest waits for the learner
FORGET_AFTER_S = 2.0  # by then every web process has polled for the excerpt
logger = logging.getLogger(__name__)


def withhold(items: Iterable[str]) -> None:
    """Let readers leave out these items from the commit on.

    If the store does not answer, the learners' next lists are without them anyway.
    """
    names = list(items)[:MAX_WITHHELD]
    if names:
        transaction.on_commit(lambda: _change(names, is_withheld=True))


def give_back(items: Iterable[str]) -> None:
    """Let readers list these items again from the commit on."""
    names = list(items)
    if names:
        transaction.on_commit(lambda: _change(names, is_withheld=False))


class Bridge:
    """The set of one shard, as its publisher sees it.

    All methods raise the errors of the store.
    """

    def __init__(self, shard: int, store: Any) -> None:
        self._key, self._store = withheld_key(shard), store
        self._left_out: frozenset[bytes] = frozenset()  # of lists that are published
        self._forget_at = inf

    def read(self) -> frozenset[bytes]:
        """Return the items that the published lists may still hold."""
        return frozenset(self._store.smembers(self._key))

    def note_published(self, withheld: frozenset[bytes]) -> None:
        """Note that lists without these items are published.

        The items are forgotten once every reader has the lists.

        withheld: read before the catalogue was.
        """
        now = clock()
        if now >= self._forget_at:
            self._store.srem(self._key, *self._left_out)
            withheld, self._left_out, self._forget_at = withheld - self._left_out, frozenset(), inf
        if withheld and self._forget_at == inf:
            self._left_out, self._forget_at = withheld, now + FORGET_AFTER_S


def _change(names: list[str], *, is_withheld: bool) -> None:
    try:
        with connect() as store:
            for key in map(withheld_key, range(settings.SHARDS)):
                n_before = store.scard(key)
                if not is_withheld and n_before:
                    store.srem(key, *names)
                elif is_withheld and n_before + len(names) <= MAX_WITHHELD:
                    store.sadd(key, *names)
    except redis.RedisError as error:
        logger.warning("the view store does not answer (%s), lists follow the items when a learner publishes", error)
