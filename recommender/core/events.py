"""Events as columns: the only form in which the core sees them.

Ids come in as text and leave as 64-bit keyed hashes (BLAKE2b with the deployment's secret, so nobody outside can
choose ids that collide). The names of items are kept, because lists are made of them; the names of actors are not.

    texts and times ──> Encoder.encode ──> EventBatch (NumPy columns, one row an event, in log order)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

N_CACHED = 200_000  # names whose hash is remembered; about 30 MB


class Kind(IntEnum):
    """What an actor did with an item. The numbers are stored in logs and checkpoints: never reuse one."""

    VIEW = 1
    CLICK = 2
    LIKE = 3
    SHARE = 4
    CART = 5
    PURCHASE = 6
    RATING = 7
    EXPOSURE = 8
    UNDO = 9


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Columns of n events in log order.

    received_ms, occurred_ms : int64, ms since 1970 UTC; ours, and the client's claim (equal where it made none).
    actor, item              : uint64, keyed hashes.
    kind                     : int8, a `Kind`.
    country                  : int16, see `country_code`; 0 = unknown.
    item_names               : the items' ids as text, one an event.
    """

    received_ms: NDArray[np.int64]
    occurred_ms: NDArray[np.int64]
    actor: NDArray[np.uint64]
    item: NDArray[np.uint64]
    kind: NDArray[np.int8]
    country: NDArray[np.int16]
    item_names: Sequence[str]

    def __post_init__(self) -> None:
        columns = (self.occurred_ms, self.actor, self.item, self.kind, self.country, self.item_names)
        if any(len(column) != len(self.received_ms) for column in columns):
            raise ValueError("the columns of a batch must be of one length")

    def __len__(self) -> int:
        return len(self.received_ms)

    def __getitem__(self, rows: slice) -> "EventBatch":
        return EventBatch(
            self.received_ms[rows],
            self.occurred_ms[rows],
            self.actor[rows],
            self.item[rows],
            self.kind[rows],
            self.country[rows],
            self.item_names[rows],
        )


class Encoder:
    """Turns ids into keys; remembers the last names seen.

    >>> Encoder(b"secret").key("ana") == Encoder(b"secret").key("ana") != Encoder(b"other").key("ana")
    True
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) > blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the secret may have at most {blake2b.MAX_KEY_SIZE} bytes")
        self._secret = secret
        self._known: dict[str, int] = {}

    def key(self, name: str) -> int:
        """The key of one id, in [0, 2**64); 0.8 us when it is new."""
        key = self._known.get(name)
        if key is None:
            # surrogatepass: a file may hold what no API lets in
            raw = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=self._secret).digest()
            key = int.from_bytes(raw, "little")
            if len(self._known) >= N_CACHED:
                self._known.clear()
            self._known[name] = key
        return key

    def keys(self, names: Sequence[str]) -> NDArray[np.uint64]:
        """The keys of many ids, shape (n,)."""
        known = self._known
        return np.fromiter(
            (known[name] if name in known else self.key(name) for name in names), np.uint64, count=len(names)
        )

    def encode(
        self,
        *,
        received_ms: NDArray[np.int64],
        occurred_ms: NDArray[np.int64],
        actors: Sequence[str],
        items: Sequence[str],
        kind: NDArray[np.int8],
        country: NDArray[np.int16],
    ) -> EventBatch:
        """Columns with ids as text to a batch."""
        return EventBatch(received_ms, occurred_ms, self.keys(actors), self.keys(items), kind, country, items)


def country_code(country: str) -> int:
    """A two-letter country as a small number; 0 for anything else.

    >>> country_code("DE"), country_name(country_code("DE")), country_code("Mars")
    (113, 'DE', 0)
    """
    if len(country) != 2 or not ("A" <= country[0] <= "Z" and "A" <= country[1] <= "Z"):
        return 0
    return (ord(country[0]) - 64) * 27 + ord(country[1]) - 64


def country_name(code: int) -> str:
    """The two letters of a country's number."""
    return chr(code // 27 + 64) + chr(code % 27 + 64)
