"""The published view: what readers are served, outside the database and the learner.

    learner ──> publisher ──> store (Valkey): head, one board a scope ──> ViewReader.board ──> answers

Scopes are "" (all), "category:NAME" and "country:XX". The head is rewritten at every wake of a learner and says up to
when the log is learned; boards are replaced all at once when they changed. A web process keeps its last good copy of
what it served, so with the store, the learner or the database down there is still an answer, with its age stated.

Web processes import this module: nothing of the numerical core, which takes seconds to load, may be needed here.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cache
from math import inf
from typing import Any

import msgspec
import redis
from django.conf import settings

from recommender.errors import NoView
from recommender.process_state import Clock, clock, remembered

HEAD, BOARDS = "groundswell:head", "groundswell:boards"
SHADOW = "shadow"  # the scope of the shadow model's list; no list a client can ask for is called so
POLL_EVERY_S = 0.05
STORE_RETRY_EVERY_S = 1.0
BOARD_DEPTH = 500  # places of a board
N_CACHED_SCOPES = 1000  # scopes are named by clients
logger = logging.getLogger(__name__)


class Head(msgspec.Struct, frozen=True):
    """`as_of`: everything received up to this unix time is in the boards. `version` changes with the boards."""

    version: int
    as_of: float
    state: str
    checkpoint: int | None
    frozen_scopes: list[str] = []


class PublishedBoard(msgspec.Struct, frozen=True):
    """Items best first. `counts` are integers on the scale on which an act at `as_of` adds `unit` at full trust,
    `fresh` from an actor never seen before, who can add `budget` to all items together; `network` is what one more
    prefix of such actors adds at most. `sizes`: of what actors add to the best items
    (`place_prices.fewest_clickers`). `frozen_as_of`: of a scope that stands still, the unix time up to which events
    are in it. `stream_ms`: stream time as of which an act adds `unit`, ms since 1970; 0 where whoever published did
    not say.
    """

    version: int
    items: list[str]
    counts: list[int]
    unit: int
    fresh: int
    network: int = 0
    budget: int = 1 << 62  # unbounded
    sizes: dict[str, list[tuple[int, int, int]]] = {}
    frozen_as_of: float | None = None
    stream_ms: int = 0

    def score(self, place: int) -> float:
        """In units: one act at full trust made now = 1.0."""
        return self.counts[place] / self.unit


class ViewReader:
    """One process's eyes on the view: asks the store at most every 50 ms, remembers what it got.

    Threads share it. One of them asks, the others answer from what is known; they wait only while nothing is.
    """

    def __init__(self, store: Any, now: Clock = clock) -> None:
        self.now = now
        self._store = store
        self._head: Head | None = None
        self._boards: dict[str, PublishedBoard] = {}
        self._ask_at = -inf
        self._is_down = False
        self._asking = threading.Lock()

    def head(self) -> Head | None:
        """The newest head known; None where there never was one."""
        if self.now() >= self._ask_at and self._asking.acquire(blocking=self._head is None):
            try:
                if self.now() >= self._ask_at:
                    packed = self._ask(self._store.get, HEAD)
                    if packed:
                        self._head = msgspec.msgpack.decode(packed, type=Head)
                    self._ask_at = self.now() + (STORE_RETRY_EVERY_S if self._is_down else POLL_EVERY_S)
            finally:
                self._asking.release()
        return self._head

    def board(self, scope: str) -> PublishedBoard | None:
        """A scope's newest board, empty where the scope has none. None where nothing is known of it and the store is
        down, or was never filled."""
        head = self.head()
        known = self._boards.get(scope)
        if head is None or self._is_down or (known and known.version >= head.version):
            return known
        packed = self._ask(self._store.hget, BOARDS, scope)
        if self._is_down:
            return known
        if len(self._boards) >= N_CACHED_SCOPES:
            self._boards = {"": self._boards[""]} if "" in self._boards else {}
        board = (
            msgspec.msgpack.decode(packed, type=PublishedBoard)
            if packed
            else PublishedBoard(head.version, [], [], 1, 1)
        )
        self._boards[scope] = board
        return board

    def _ask(self, command: Callable[..., Any], *arguments: str) -> bytes | None:
        try:
            answer: bytes | None = command(*arguments)
        except redis.RedisError as error:
            if not self._is_down:
                logger.warning("the store of the view does not answer (%s); serving the last copy", error)
            self._is_down = True
            return None
        self._is_down = False
        return answer


def connect() -> Any:
    """A client of the store that gives up quickly. (redis-py types its answers as text or bytes; here: bytes.)"""
    return redis.Redis.from_url(settings.VIEW_URL, socket_timeout=0.5, socket_connect_timeout=0.5)


def read_board(scope: str) -> tuple[PublishedBoard | None, float]:
    """A scope's board as it is in the store now, and up to when events are in it; None where there is none, or
    nothing on it. Past the reader, whose copy may be old. Raises NoView."""
    try:
        with connect() as store, store.pipeline() as both:
            packed_head, packed = both.get(HEAD).hget(BOARDS, scope).execute()
    except redis.RedisError as error:
        raise NoView("The store of the view does not answer; nothing was changed. Try again.") from error
    if not packed_head:
        raise NoView
    board = msgspec.msgpack.decode(packed, type=PublishedBoard) if packed else None
    return board if board and board.items else None, msgspec.msgpack.decode(packed_head, type=Head).as_of


def read_boards(scopes: Sequence[str]) -> dict[str, PublishedBoard]:
    """Boards as they are in the store now, by scope, those there are. Raises NoView."""
    try:
        with connect() as store:
            packed = store.hmget(BOARDS, list(scopes)) if scopes else []
    except redis.RedisError as error:
        raise NoView("The store of the view does not answer. Try again.") from error
    return {
        scope: msgspec.msgpack.decode(each, type=PublishedBoard)
        for scope, each in zip(scopes, packed, strict=True)
        if each
    }


def read_scopes() -> list[str]:
    """The lists of categories and countries that there are, by name. Raises NoView."""
    try:
        with connect() as store:
            fields = store.hkeys(BOARDS)
    except redis.RedisError as error:
        raise NoView("The store of the view does not answer. Try again.") from error
    return sorted(name for field in fields if ":" in (name := field.decode("utf-8", "replace")))


@cache
def reader() -> ViewReader:
    """The process's reader."""
    return ViewReader(connect())


remembered(reader.cache_clear)
