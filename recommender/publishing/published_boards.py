"""The published view: the boards that readers see, outside database and learner.

    learner ──> publisher ──> store (Valkey): head, one board a scope ──> ViewReader.board ──> answers
                     items hidden or deleted since (`withheld_items`) ────┘ left out

Scopes are "" (all), "category:NAME" and "country:XX". The head is rewritten every time a learner wakes. It holds the
time up to which the log is learned. When boards change, all of them are replaced at once. A web process keeps its
last good copy of the boards it served. So if the store, the learner or the database is down, there is still an
answer, and the answer reports its age.

Web processes import this module. So it must not import the numerical core, which takes seconds to load.
"""

import logging
import threading
import zlib
from collections.abc import Callable, Collection, Sequence
from functools import cache
from math import inf
from typing import Any

import msgspec
import redis
from django.conf import settings

from recommender.connections import store_address
from recommender.errors import NoView
from recommender.process_state import Clock, clock, remembered
from recommender.publishing.view_format import FORMAT, unpack

HEAD, BOARDS = "groundswell:head", "groundswell:boards"
SHADOW = "shadow"  # the scope of the shadow model's list. No list that a client can ask for has this name.
POLL_EVERY_S = 0.05
STORE_RETRY_EVERY_S = 1.0
STORE_TIMEOUT_S = 0.5
BOARD_DEPTH = 500  # places of a board
N_CACHED_SCOPES = 1000  # bounded, since clients choose the names of scopes
logger = logging.getLogger(__name__)


class Head(msgspec.Struct, frozen=True):
    """The state of the published view.

    as_of: all events received up to this unix time are in the boards.
    version: changes with the boards.
    format: of the whole view (`view_format`).
    """

    version: int
    as_of: float
    state: str
    checkpoint: int | None
    frozen_scopes: list[str] = []
    format: int = FORMAT


class PublishedBoard(msgspec.Struct, frozen=True):
    """A board, best items first.

    counts: integers on the scale on which an act at `as_of` adds `unit` at full trust.
    fresh: the most that an act of a newcomer adds, on the same scale.
    network: the most that one more prefix of newcomers adds.
    budget: the most that a newcomer adds to all items together.
    sizes: contributions of actors to the best items (`place_prices.fewest_clickers`).
    frozen_as_of: for a frozen scope, the unix time up to which events are in it.
    stream_ms: stream time at which an act adds `unit`, ms since 1970, or 0 if the publisher did not report it.
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
        """Return the score of a place in units, where an act at full trust now is 1.0."""
        return self.counts[place] / self.unit

    def without(self, items: Collection[str]) -> "PublishedBoard":
        """Return the board without some items.

        It has a version of its own, which the board and the removed items determine.
        """
        places = [place for place, item in enumerate(self.items) if item not in items]
        if len(places) == len(self.items):
            return self
        removed = zlib.crc32("\n".join(sorted(set(self.items).intersection(items))).encode())
        return msgspec.structs.replace(
            self,
            version=-((self.version << 32) + removed),
            items=[self.items[place] for place in places],
            counts=[self.counts[place] for place in places],
        )


class ViewReader:
    """The view as one process knows it. It asks the store at most every 50 ms.

    Threads share it. One of them asks, and the others answer from the last copy. They wait only while there is none.
    """

    def __init__(self, store: Any, now: Clock = clock) -> None:
        self.now = now
        self._store = store
        self._head: Head | None = None
        self._boards: dict[str, PublishedBoard] = {}
        # The head's version when each board was read. A store that was lost may begin again with a lower version.
        self._of_head: dict[str, int] = {}
        self._withheld: frozenset[str] = frozenset()
        self._without: dict[str, tuple[PublishedBoard, frozenset[str], PublishedBoard]] = {}
        self._ask_at = -inf
        self._is_down = False
        self._is_readable = True
        self._asking = threading.Lock()

    def head(self) -> Head | None:
        """Return the newest known head, or None if no readable one was ever there."""
        if self.now() >= self._ask_at and self._asking.acquire(blocking=self._head is None):
            try:
                if self.now() >= self._ask_at:
                    packed = self._ask(self._store.get, HEAD)
                    if packed:
                        head = unpack(packed, Head)
                        self._is_readable = head is not None
                        self._head = head or self._head
                    self._read_withheld()
                    self._ask_at = self.now() + (STORE_RETRY_EVERY_S if self._is_down else POLL_EVERY_S)
            finally:
                self._asking.release()
        return self._head

    def withheld(self) -> frozenset[str]:
        """Return the items that were hidden or deleted since the lists were published."""
        self.head()
        return self._withheld

    def board(self, scope: str) -> PublishedBoard | None:
        """Return a scope's newest board, which is empty for a scope without one.

        Items that are withheld are not on it. It is None if no board of the scope is known and the store is down, was
        never filled, or holds a view that this version cannot read.
        """
        board, withheld = self._whole_board(scope), self._withheld
        if board is None or not withheld:
            return board
        known = self._without.get(scope)
        if known is None or known[0] is not board or known[1] is not withheld:
            if len(self._without) >= N_CACHED_SCOPES:
                self._without = {}
            known = self._without[scope] = board, withheld, board.without(withheld)
        return known[2]

    def _whole_board(self, scope: str) -> PublishedBoard | None:
        head = self.head()
        known = self._boards.get(scope)
        is_known = known is not None and head is not None and self._of_head.get(scope) == head.version
        if head is None or self._is_down or not self._is_readable or is_known:
            return known
        packed = self._ask(self._store.hget, BOARDS, scope)
        board = unpack(packed, PublishedBoard) if packed else PublishedBoard(head.version, [], [], 1, 1)
        if self._is_down or board is None:
            return known
        if len(self._boards) >= N_CACHED_SCOPES:
            self._boards = {"": self._boards[""]} if "" in self._boards else {}
            self._of_head = {}
        self._boards[scope], self._of_head[scope] = board, head.version
        return board

    def _read_withheld(self) -> None:
        """Read the withheld items. While the store is down, the last ones stay."""
        if self._is_down:
            return
        names = self._ask(self._store.sunion, [withheld_key(shard) for shard in range(settings.SHARDS)])
        if not self._is_down and (withheld := frozenset(name.decode() for name in names)) != self._withheld:
            self._withheld, self._without = withheld, {}

    def _ask(self, command: Callable[..., Any], *arguments: Any) -> Any:
        try:
            answer = command(*arguments)
        except redis.RedisError as error:
            if not self._is_down:
                logger.warning("the view store does not answer (%s), serving the last copy", error)
            self._is_down = True
            return None
        self._is_down = False
        return answer


def withheld_key(shard: int) -> str:
    """Return the name of a shard's set of withheld items (`withheld_items`)."""
    return f"groundswell:withheld:{shard}"


def connect() -> Any:
    """Return a client of the store that gives up quickly."""
    return store_address.connect(settings.VIEW_URL, timeout_s=STORE_TIMEOUT_S)


def read_board(scope: str) -> tuple[PublishedBoard | None, float]:
    """Return a scope's board in the store now, and the time up to which it has events.

    The board is None if there is none or it is empty. This does not use the reader, whose copy may be old. Raises
    NoView.
    """
    try:
        with connect() as store, store.pipeline() as both:
            packed_head, packed = both.get(HEAD).hget(BOARDS, scope).execute()
    except redis.RedisError as error:
        raise NoView("The view store does not answer, so nothing was changed. Try again.") from error
    if not packed_head:
        raise NoView
    head, board = unpack(packed_head, Head), unpack(packed, PublishedBoard)
    if head is None or (packed and board is None):
        raise NoView("A newer version published the lists, and this one cannot read them. Upgrade this node.")
    return board if board and board.items else None, head.as_of


def read_boards(scopes: Sequence[str]) -> dict[str, PublishedBoard]:
    """Return the boards of these scopes that are in the store now. Raises NoView."""
    try:
        with connect() as store:
            packed = store.hmget(BOARDS, list(scopes)) if scopes else []
    except redis.RedisError as error:
        raise NoView("The view store does not answer. Try again.") from error
    boards = {scope: unpack(each, PublishedBoard) for scope, each in zip(scopes, packed, strict=True)}
    return {scope: board for scope, board in boards.items() if board is not None}


def read_scopes() -> list[str]:
    """Return the sorted names of all category and country lists. Raises NoView."""
    try:
        with connect() as store:
            fields = store.hkeys(BOARDS)
    except redis.RedisError as error:
        raise NoView("The view store does not answer. Try again.") from error
    return sorted(name for field in fields if ":" in (name := field.decode("utf-8", "replace")))


@cache
def reader() -> ViewReader:
    """Return the reader of this process."""
    return ViewReader(connect())


remembered(reader.cache_clear)
