"""The excerpt: the part of the model needed for the list of one actor.

It is one message in the store, for the web processes.

    learner ──excerpt_writer──> store: groundswell:excerpts, a field a shard ──> ExcerptReader ──> Excerpt, as arrays

Boards hold the best for all actors. A list for one actor also needs the items next to those it acted on, their scores
in the trend, and the learned weights. Items go by row here, and `names` gives the id of a row. Each web process keeps
the newest copy and asks for another at most every POLL_EVERY_S. So a request costs no round trip to the store, and if
the store is down there is still the last copy.

Scores are computed by the core's own kernels, so that a list is in the order that the learner judges.
"""

import logging
import threading
from functools import cached_property
from math import inf
from typing import Any

import msgspec
import numpy as np
import redis
from numpy.typing import NDArray

from recommender.core.ranking.list_scores import Weights
from recommender.database_outage import Pause
from recommender.process_state import Clock, clock
from recommender.publishing.published_boards import BOARD_DEPTH, connect
from recommender.publishing.view_format import FORMAT, unpack

EXCERPTS, VERSIONS = "groundswell:excerpts", "groundswell:excerpts:versions"
POLL_EVERY_S = 0.5
MAY_BE_LISTED = 1  # a bit of Message.flags
MAX_KEPT_LINKS = 2_000  # items whose links are kept as lists, at most 4 KB each

logger = logging.getLogger(__name__)


class Message(msgspec.Struct, frozen=True):
    """The excerpt of one shard, as it is stored.

    Arrays are little-endian bytes, for n items, s sources and l links.

    names: ids, by row.
    flags: uint8 (n,).
    published_s: float64 (n,), unix seconds, 0 if unknown.
    categories: the names of the categories.
    category_ends: uint32 (n,), the end of each item's categories in category_of.
    category_of: uint16, the numbers of the categories, item by item.
    trend: float32 (n, halves), scores in units by each of half_lives_s, the served one first.
    sources: uint32 (s,), rows.
    ends: uint32 (s,), the end of each source's links.
    targets: uint32 (l,), rows, strongest first.
    strengths: float32 (l,).
    actors: uint32 (l,), the actors behind each link.
    prices: uint32 (l,), how many new actors take the place.
    mode: the order that does best, trend, blend or ranker (`recommender.core.ranking.bypass`).
    weights: mean, scale and coefficients of the ranker, float64 (d,) one after the other, and its intercept.
    format: see `view_format`.
    """

    version: int
    as_of: float
    names: list[str]
    flags: bytes
    published_s: bytes
    categories: list[str]
    category_ends: bytes
    category_of: bytes
    trend: bytes
    half_lives_s: list[int]
    sources: bytes
    ends: bytes
    targets: bytes
    strengths: bytes
    actors: bytes
    prices: bytes
    recall: list[float]
    blend: float
    mode: str
    weights: bytes
    format: int = FORMAT


class Excerpt:
    """A message as arrays. `Message` describes them."""

    def __init__(self, message: Message) -> None:
        self.message = message
        n = len(message.names)
        self.names = message.names
        self.flags = np.frombuffer(message.flags, np.uint8)
        self.published_s = np.frombuffer(message.published_s, np.float64)
        self.trend = np.frombuffer(message.trend, np.float32).reshape(n, len(message.half_lives_s))
        self.category_ends = np.frombuffer(message.category_ends, np.uint32)
        self.category_of = np.frombuffer(message.category_of, np.uint16)
        self.ends = np.frombuffer(message.ends, np.uint32)
        self.targets = np.frombuffer(message.targets, np.uint32)
        self.strengths = np.frombuffer(message.strengths, np.float32)
        self.actors = np.frombuffer(message.actors, np.uint32)
        self.prices = np.frombuffer(message.prices, np.uint32)
        self._links: dict[str, list[tuple[str, float, int, int]]] = {}
        self._place_of = np.full(n, -1, np.int32)
        self._place_of[np.frombuffer(message.sources, np.uint32)] = np.arange(len(self.ends))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Return the row of each item, by id."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def best(self) -> NDArray[np.int64]:
        """Return rows that may be listed, best by the served half-life first.

        There are at most BOARD_DEPTH.
        """
        return self._best_by(0)

    @cached_property
    def steady(self) -> NDArray[np.int64]:
        """Return rows that may be listed, best by the next half-life first."""
        return self._best_by(min(1, self.trend.shape[1] - 1))

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """Return the sum of all scores by half-life, float64 (halves,).

        A sum is 1 if there are no scores.
        """
        sums = self.trend.sum(axis=0, dtype=np.float64)
        return np.asarray(np.where(sums > 0, sums, 1.0))

    @cached_property
    def weights(self) -> Weights:
        """Return the ranker's weights."""
        *parts, intercept = np.frombuffer(self.message.weights, np.float64)
        mean, scale, coefficients = np.array(parts).reshape(3, -1)
        return Weights(mean, scale, coefficients, float(intercept))

    def fresh(self, within_s: float, below: float) -> NDArray[np.int64]:
        """Return rows of new items that may be listed, newest first.

        They were published in the last `within_s` seconds and have less than `below` units by the longest half-life.
        """
        since = self.message.as_of - within_s
        is_fresh = (self.published_s > since) & (self.flags & MAY_BE_LISTED > 0) & (self.trend[:, -1] < below)
        rows = np.flatnonzero(is_fresh)
        return rows[np.argsort(-self.published_s[rows], kind="stable")]

    def neighbours(self, row: int) -> slice:
        """Return the slice of an item's links in targets, strengths, actors and prices."""
        place = int(self._place_of[row])
        if place < 0:
            return slice(0, 0)
        return slice(int(self.ends[place - 1]) if place else 0, int(self.ends[place]))

    def links(self, item: str) -> list[tuple[str, float, int, int]]:
        """Return an item's links to items that may be listed, strongest first.

        Each is (id, strength, actors behind it, price of its place). The links of the items asked for last are kept,
        since these are few.
        """
        known = self._links.get(item)
        if known is not None:
            return known
        row = self.rows.get(item)
        if row is None:
            return []  # not kept, since clients may ask for any id
        if len(self._links) >= MAX_KEPT_LINKS:
            self._links = {}
        place = self.neighbours(row)
        columns = (self.targets, self.strengths, self.actors, self.prices)
        found = self._links[item] = [
            (self.names[target], strength, actors, price)
            for target, strength, actors, price in zip(*(column[place].tolist() for column in columns), strict=True)
            if self.flags[target] & MAY_BE_LISTED
        ]
        return found

    def categories(self, row: int) -> list[str]:
        """Return an item's categories, in the site's order."""
        began = int(self.category_ends[row - 1]) if row else 0
        return [self.message.categories[each] for each in self.category_of[began : int(self.category_ends[row])]]

    def is_in(self, category: str) -> NDArray[np.bool_]:
        """Return, by row, whether an item is in a category."""
        known = self.message.categories
        is_in = np.zeros(len(self.names), np.bool_)
        if category in known:
            places = np.flatnonzero(self.category_of == known.index(category))
            is_in[np.searchsorted(self.category_ends, places, side="right")] = True
        return is_in

    def _best_by(self, half: int) -> NDArray[np.int64]:
        scores = np.where(self.flags & MAY_BE_LISTED, self.trend[:, half], 0.0)
        listed = np.flatnonzero(scores > 0)
        if len(listed) > BOARD_DEPTH:
            listed = np.sort(listed[np.argpartition(-scores[listed], BOARD_DEPTH)[:BOARD_DEPTH]])
        return listed[np.argsort(-scores[listed], kind="stable")][:BOARD_DEPTH]


class ExcerptReader:
    """The excerpts that one process knows, one per shard.

    Threads share it. One of them asks the store while the others go on.
    """

    def __init__(self, store: Any, now: Clock = clock) -> None:
        self.now = now
        self._store = store
        self._known: dict[bytes, Excerpt] = {}
        self._ask_at = -inf
        self._pause = Pause(now)
        self._asking = threading.Lock()

    def excerpts(self) -> list[Excerpt]:
        """Return the newest known excerpts, by shard, or none if there never was one."""
        if self.now() >= self._ask_at and self._asking.acquire(blocking=not self._known):
            try:
                if self.now() >= self._ask_at:
                    self._refresh()
            finally:
                self._asking.release()
        return list(self._known.values())

    def _refresh(self) -> None:
        self._ask_at = self.now() + POLL_EVERY_S
        if self._pause.is_on:
            return
        began_at = self.now()
        try:
            versions = self._store.hgetall(VERSIONS)
            changed = [
                shard
                for shard, version in versions.items()
                if shard not in self._known or self._known[shard].message.version != int(version)
            ]
            packed = dict(zip(changed, self._store.hmget(EXCERPTS, changed), strict=True)) if changed else {}
        except redis.RedisError as error:
            logger.warning("the view store does not answer (%s), recommending from the last copy", error)
            self._pause.after(self.now() - began_at)
            return
        known = {shard: each for shard, each in self._known.items() if shard in versions}
        for shard, message in packed.items():
            if message and (excerpt := _unpack(message)):
                known[shard] = excerpt
        self._known = known


def make_reader() -> ExcerptReader:
    return ExcerptReader(connect())


def _unpack(packed: bytes) -> Excerpt | None:
    """Return an excerpt, or None for one that this version cannot read.

    If an earlier version wrote it, the learner of that shard soon writes another.
    """
    message = unpack(packed, Message)
    if message is None:
        return None
    try:
        return Excerpt(message)
    except ValueError as error:  # arrays of other shapes
        logger.warning("an excerpt in the store cannot be read, waiting for the next one: %s", error)
        return None


class Remembered(msgspec.Struct, frozen=True):
    """An item's standing by one half-life.

    place: among all items that may be listed, None without one.
    """

    half_life_s: int
    place: int | None
    score: float


def read_remembered(item: str) -> list[Remembered]:
    """Return an item's place and score by each half-life, the served one first.

    Scores of all shards are added up. This reads the store itself, not the reader's copy. The result is empty if
    nothing is stored or the store does not answer. O(items of the site).
    """
    try:
        with connect() as store:
            stored = store.hvals(EXCERPTS)
    except redis.RedisError:
        return []
    excerpts = [excerpt for packed in stored if (excerpt := _unpack(packed))]
    if not excerpts:
        return []
    half_lives_s = excerpts[0].message.half_lives_s
    index: dict[str, int] = {}
    alike = [each for each in excerpts if each.message.half_lives_s == half_lives_s]  # all, except during a rebuild
    rows = [np.array([index.setdefault(name, len(index)) for name in each.names], np.int64) for each in alike]
    scores, may_be_listed = np.zeros((len(index), len(half_lives_s))), np.zeros(len(index), np.bool_)
    for each, row in zip(alike, rows, strict=True):
        scores[row] += each.trend
        may_be_listed[row] = each.flags & MAY_BE_LISTED > 0
    if item not in index:
        return [Remembered(half_life_s, None, 0.0) for half_life_s in half_lives_s]
    own = scores[index[item]]
    better = (scores[may_be_listed] > own).sum(axis=0).tolist()
    is_listed = bool(may_be_listed[index[item]])
    return [
        Remembered(half_life_s, n + 1 if is_listed and score > 0 else None, score)
        for half_life_s, n, score in zip(half_lives_s, better, own.tolist(), strict=True)
    ]
