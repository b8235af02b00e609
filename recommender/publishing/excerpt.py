"""The excerpt: what a web process needs of the model to make a list for one actor, as one message in the store.

    learner ──excerpt_writer──> store: groundswell:excerpts, a field a shard ──> ExcerptReader ──> Excerpt, as arrays

Boards say what is best for all; a list for one actor needs the items beside those it acted on, how all of these do
in the trend, and the learned weights. Items go by row here: `names` gives a row its id. Each web process keeps the
newest copy and asks for another at most every POLL_EVERY_S, so a request costs no round trip to the store, and with
the store down there is still the last copy.

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

EXCERPTS, VERSIONS = "groundswell:excerpts", "groundswell:excerpts:versions"
POLL_EVERY_S = 0.5
MAY_BE_LISTED = 1  # a bit of Message.flags
MAX_KEPT_LINKS = 2_000  # items whose links are kept as lists; 4 KB each at most

logger = logging.getLogger(__name__)


class Message(msgspec.Struct, frozen=True):
    """As it is stored. Arrays are little-endian bytes; n items, s sources, l links.

    names: ids, by row. flags: uint8 (n,). published_s: float64 (n,), unix seconds, 0 unknown. categories: their
    names; category_ends: uint32 (n,), category_of: uint16, the categories of an item up to its end. trend: float32
    (n, halves), scores in units by each of half_lives_s, the served one first. sources: uint32 (s,), rows; ends:
    uint32 (s,); targets: uint32 (l,), strengths: float32 (l,), actors: uint32 (l,), strongest first; prices: uint32
    (l,), how many new actors take the place.
    mode: which order does best (`recommender.core.ranking.bypass`): trend, blend or ranker. weights: mean, scale and
    coefficients of the ranker, float64 (d,) one after the other, and its intercept.
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


class Excerpt:
    """A message as arrays; see there for what they hold."""

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
        """The row of an item, by id."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def best(self) -> NDArray[np.int64]:
        """Rows that may be listed, best by the served half-life first, at most BOARD_DEPTH."""
        return self._best_by(0)

    @cached_property
    def steady(self) -> NDArray[np.int64]:
        """The same by the next half-life."""
        return self._best_by(min(1, self.trend.shape[1] - 1))

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """float64 (halves,): of all there is, by half-life, 1 where there is nothing."""
        sums = self.trend.sum(axis=0, dtype=np.float64)
        return np.asarray(np.where(sums > 0, sums, 1.0))

    @cached_property
    def weights(self) -> Weights:
        """The ranker's."""
        *parts, intercept = np.frombuffer(self.message.weights, np.float64)
        mean, scale, coefficients = np.array(parts).reshape(3, -1)
        return Weights(mean, scale, coefficients, float(intercept))

    def fresh(self, within_s: float, below: float) -> NDArray[np.int64]:
        """Rows that may be listed, published within so many seconds, with less than `below` units by the longest
        half-life; newest first."""
        since = self.message.as_of - within_s
        is_fresh = (self.published_s > since) & (self.flags & MAY_BE_LISTED > 0) & (self.trend[:, -1] < below)
        rows = np.flatnonzero(is_fresh)
        return rows[np.argsort(-self.published_s[rows], kind="stable")]

    def neighbours(self, row: int) -> slice:
        """Where the links of an item stand in `targets`, `strengths`, `actors`, `prices`."""
        place = int(self._place_of[row])
        if place < 0:
            return slice(0, 0)
        return slice(int(self.ends[place - 1]) if place else 0, int(self.ends[place]))

    def links(self, item: str) -> list[tuple[str, float, int, int]]:
        """What an item leads to and may be listed, strongest first: id, strength, actors behind it, price of its
        place. Kept for the items asked for last, since these are few."""
        known = self._links.get(item)
        if known is not None:
            return known
        row = self.rows.get(item)
        if row is None:
            return []  # and not kept: clients may ask for any id
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
        """Of an item, in the site's order."""
        began = int(self.category_ends[row - 1]) if row else 0
        return [self.message.categories[each] for each in self.category_of[began : int(self.category_ends[row])]]

    def is_in(self, category: str) -> NDArray[np.bool_]:
        """By row, whether an item is in a category."""
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
    """One process's copy, one excerpt a shard. Threads share it; one of them asks while the others go on."""

    def __init__(self, store: Any, now: Clock = clock) -> None:
        self.now = now
        self._store = store
        self._known: dict[bytes, Excerpt] = {}
        self._ask_at = -inf
        self._pause = Pause(now)
        self._asking = threading.Lock()

    def excerpts(self) -> list[Excerpt]:
        """The newest known, by shard; empty where there never was one."""
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
            logger.warning("the store of the view does not answer (%s); recommending from the last copy", error)
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
    """None for what an earlier release left; its learner writes another soon."""
    try:
        return Excerpt(msgspec.msgpack.decode(packed, type=Message))
    except msgspec.DecodeError as error:
        logger.warning("an excerpt in the store cannot be read: %s", error)
        return None


class Remembered(msgspec.Struct, frozen=True):
    """What a half-life says of an item: its place among all that may be listed, None without one; its score."""

    half_life_s: int
    place: int | None
    score: float


def read_remembered(item: str) -> list[Remembered]:
    """By half-life, the served one first, the shards' scores added up; as stored now, past the reader. Empty where
    nothing is stored, or the store does not answer. 1 us an item of the site and shard."""
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
    alike = [each for each in excerpts if each.message.half_lives_s == half_lives_s]  # all, but during a rebuild
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
