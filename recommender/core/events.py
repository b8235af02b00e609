"""Events as columns: the only form in which the core sees them.

Ids come in as text and leave as 64-bit keyed hashes (BLAKE2b with the deployment's secret, so nobody outside can
choose ids that collide). The names of items are kept, because lists are made of them; the names of actors are not.

    texts and times ──> Encoder.encode ──> EventBatch (NumPy columns, one row an event, in log order)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np
from crawleruseragents import is_crawler
from numpy.typing import NDArray

N_CACHED = 200_000  # names whose hash is remembered; about 30 MB
DIRECT = 1  # the key of a referrer known to be none
PREFETCH = ("prefetch", "prerender")  # words of a purpose header that a client puts before its user agent
Texts = Sequence[str | None]

_NOTHING = np.zeros(0, np.uint64)
_NOTHING_AUTOMATED = np.zeros(0, np.bool_)


def _nothing() -> NDArray[np.uint64]:
    return _NOTHING


def _nothing_automated() -> NDArray[np.bool_]:
    return _NOTHING_AUTOMATED


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Columns of n events in log order.

    received_ms, occurred_ms : int64, ms since 1970 UTC; ours, and the client's claim (equal where it made none).
    actor, item              : uint64, keyed hashes.
    kind                     : int8, a `Kind`.
    country                  : int16, see `country_code`; 0 = unknown.
    item_names               : the items' ids as text, one an event.

    What is known of how the event came, 0 where nothing is (which is held against nobody):
    session, agent, referrer : uint64, keyed hashes; a referrer that is known to be none is `DIRECT`.
    prefix                   : uint64, key of the address's /24, or /48; its upper half is that of the /16, or /32.
    is_automated             : a declared crawler, or a page fetched ahead of its reader.
    """

    received_ms: NDArray[np.int64]
    occurred_ms: NDArray[np.int64]
    actor: NDArray[np.uint64]
    item: NDArray[np.uint64]
    kind: NDArray[np.int8]
    country: NDArray[np.int16]
    item_names: Sequence[str]
    session: NDArray[np.uint64] = field(default_factory=_nothing)
    prefix: NDArray[np.uint64] = field(default_factory=_nothing)
    agent: NDArray[np.uint64] = field(default_factory=_nothing)
    referrer: NDArray[np.uint64] = field(default_factory=_nothing)
    is_automated: NDArray[np.bool_] = field(default_factory=_nothing_automated)

    def __post_init__(self) -> None:
        n = len(self.received_ms)
        for name in CONTEXT:
            if not len(getattr(self, name)) and n:  # not given
                object.__setattr__(self, name, np.zeros(n, np.bool_ if name == "is_automated" else np.uint64))
        if any(len(getattr(self, each)) != n for each in COLUMNS):
            raise ValueError("the columns of a batch must be of one length")

    def __len__(self) -> int:
        return len(self.received_ms)

    def __getitem__(self, rows: slice) -> "EventBatch":
        return EventBatch(*(getattr(self, name)[rows] for name in COLUMNS))

    def take(self, rows: NDArray[np.int64]) -> "EventBatch":
        """The events of these rows, in the order given."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in COLUMNS if name != "item_names"}
        return EventBatch(**columns, item_names=[self.item_names[row] for row in rows.tolist()])


COLUMNS = tuple(each.name for each in fields_of(EventBatch))
CONTEXT = COLUMNS[7:]


def joined(batches: Sequence[EventBatch]) -> EventBatch:
    """Batches one after the other, as one."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS if name != "item_names"
    }
    return EventBatch(**columns, item_names=[name for batch in batches for name in batch.item_names])


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
        self._networks: dict[str, int] = {}
        self._addresses: dict[str | None, int] = {}

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

    def network_key(self, network: str) -> int:
        """The key of a /24 or /48: 32 bits of the hash of the /16 or /32 it stands in, the group, then 32 of its own.
        So a group needs no column of its own, and prefixes are as far apart as before within one.

        >>> one, other = (Encoder(b"").network_key(f"192.0.{third}.0/24") for third in (2, 3))
        >>> one != other, one >> 32 == other >> 32
        (True, True)
        """
        key = self._networks.get(network)
        if key is None:
            key = (self.key(group_of(network)) & 0xFFFFFFFF) << 32 | self.key(network) & 0xFFFFFFFF
            if len(self._networks) >= N_CACHED:
                self._networks.clear()
            self._networks[network] = key
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
        sessions: Texts | None = None,
        ips: Texts | None = None,
        user_agents: Texts | None = None,
        referrers: Texts | None = None,
        is_automated: NDArray[np.bool_] | None = None,
    ) -> EventBatch:
        """Columns with ids as text to a batch. A None, or a column that is not given, is unknown; an empty referrer
        is known to be none. `is_automated` adds to what the user agents declare."""
        n = len(received_ms)
        declared = np.zeros(n, np.bool_) if is_automated is None else np.asarray(is_automated, np.bool_)
        if user_agents is not None:
            says = {agent: is_declared(agent) for agent in set(user_agents)}
            declared = declared | np.fromiter((says[agent] for agent in user_agents), np.bool_, count=n)
        return EventBatch(
            received_ms,
            occurred_ms,
            self.keys(actors),
            self.keys(items),
            kind,
            country,
            items,
            self._context_keys(sessions, n),
            self._network_keys(ips, n),
            self._context_keys(user_agents, n),
            self._context_keys(referrers, n, empty=DIRECT),
            declared,
        )

    def _network_keys(self, ips: Texts | None, n: int) -> NDArray[np.uint64]:
        if ips is None:
            return np.zeros(n, np.uint64)
        known = self._addresses
        return np.fromiter((known[ip] if ip in known else self._address_key(ip) for ip in ips), np.uint64, count=n)

    def _address_key(self, ip: str | None) -> int:
        network = network_of(ip)
        key = self.network_key(network) if network else 0
        if len(self._addresses) >= N_CACHED:
            self._addresses.clear()
        self._addresses[ip] = key
        return key

    def _context_keys(self, texts: Texts | None, n: int, empty: int = 0) -> NDArray[np.uint64]:
        if texts is None:
            return np.zeros(n, np.uint64)
        known: dict[str | None, int] = {None: 0, "": empty}  # of this batch: sessions, agents repeat
        for text in set(texts).difference(known):
            known[text] = self.key(text or "")
        return np.fromiter((known[text] for text in texts), np.uint64, count=n)


@lru_cache(maxsize=65_536)
def is_declared(user_agent: str | None) -> bool:
    """Does a user agent say itself that nobody is reading? By the list of the package crawler-user-agents; 0.2 ms
    when it is new.

    >>> is_declared("Googlebot/2.1 (+http://www.google.com/bot.html)"), is_declared("Mozilla/5.0"), is_declared(None)
    (True, False, False)
    """
    if not user_agent:
        return False
    return user_agent.lower().startswith(PREFETCH) or bool(is_crawler(user_agent))


@lru_cache(maxsize=65_536)
def network_of(ip: str | None) -> str | None:
    """The network an address stands in, /24 or /48; None for what is no address.

    >>> network_of("192.0.2.77"), network_of("2001:db8:1:2::3"), network_of("unknown")
    ('192.0.2.0/24', '2001:db8:1::/48', None)
    """
    try:
        address = ip_address(ip or "")
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


def group_of(network: str) -> str:
    """The group of networks a /24 or /48 stands in, as far as an address alone can tell one operator's: /16 or /32.

    >>> group_of("192.0.2.0/24"), group_of("2001:db8:1::/48")
    ('192.0.0.0/16', '2001:db8::/32')
    """
    prefix = ip_network(network)
    return str(prefix.supernet(new_prefix=16 if prefix.version == 4 else 32))


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
