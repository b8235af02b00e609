"""Events as columns, the only form in which the core sees them.

    texts and times ──> Encoder.encode ──> EventBatch (NumPy columns, one row an event, in log order)

Ids come in as text and leave as 64-bit keyed hashes. The hash is BLAKE2b with the deployment's secret, so no one
outside can choose ids that collide. The encoder keeps the names of items, because lists are made of them. It does not
keep the names of actors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

import numpy as np
from crawleruseragents import is_crawler
from numpy.typing import NDArray

N_CACHED = 65_536  # names whose hash is cached ...
MAX_CACHED = 64  # ... if they are no longer than this. So a cache takes at most 12 MB
DIRECT = 1  # the key for an event that is known to have no referrer
PREFETCH = ("prefetch", "prerender")  # words of a purpose header that a client puts before its user agent
Texts = Sequence[str | None]

_MAPPED = bytes(10) + b"\xff\xff"  # the first bytes of an IPv4 address that is mapped into IPv6
_NOTHING = np.zeros(0, np.uint64)
_NOTHING_AUTOMATED = np.zeros(0, np.bool_)


def _nothing() -> NDArray[np.uint64]:
    return _NOTHING


def _nothing_automated() -> NDArray[np.bool_]:
    return _NOTHING_AUTOMATED


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Columns of n events in log order.

    received_ms, occurred_ms : int64, ms since 1970 UTC: the server's time, and the client's claim (if it made
                               none, the server's time).
    actor, item              : uint64, keyed hashes.
    kind                     : int8, a `Kind`.
    country                  : int16, see `country_code`, 0 = unknown.
    item_names               : the items' ids as text, one an event.

    The other columns describe how the event came. 0 means unknown, and is held against no one:
    session, agent, referrer : uint64, keyed hashes. An event known to have no referrer has `DIRECT`.
    prefix                   : uint64, key of the address's /24, or /48. Its upper half is that of the /16, or /32.
    is_automated             : a declared crawler, or a page fetched before its reader asked for it.
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
            if not len(getattr(self, name)) and n:  # column not given
                object.__setattr__(self, name, np.zeros(n, np.bool_ if name == "is_automated" else np.uint64))
        if any(len(getattr(self, each)) != n for each in COLUMNS):
            raise ValueError("all columns of a batch must have the same length")

    def __len__(self) -> int:
        return len(self.received_ms)

    def __getitem__(self, rows: slice) -> "EventBatch":
        return EventBatch(*(getattr(self, name)[rows] for name in COLUMNS))

    def take(self, rows: NDArray[np.int64]) -> "EventBatch":
        """Return the events of these rows, in the order given."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in COLUMNS if name != "item_names"}
        return EventBatch(**columns, item_names=[self.item_names[row] for row in rows.tolist()])


COLUMNS = tuple(each.name for each in fields_of(EventBatch))
CONTEXT = COLUMNS[7:]


def joined(batches: Sequence[EventBatch]) -> EventBatch:
    """Join batches into one, in their order."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS if name != "item_names"
    }
    return EventBatch(**columns, item_names=[name for batch in batches for name in batch.item_names])


class Encoder:
    """Encoder that turns ids into keys and caches the keys of recent names.

    >>> Encoder(b"secret").key("ana") == Encoder(b"secret").key("ana") != Encoder(b"other").key("ana")
    True
    """

    def __init__(self, secret: bytes, *, n_cached: int = N_CACHED) -> None:
        if len(secret) > blake2b.MAX_KEY_SIZE:
            raise ValueError(f"the secret must have at most {blake2b.MAX_KEY_SIZE} bytes")
        self._secret = secret
        self._hash = blake2b(digest_size=8, key=secret)  # a copy takes two thirds of the time of a new one
        self._n_cached = n_cached
        self._known: dict[str, int] = {}
        self._networks: dict[str, int] = {}
        self._addresses: dict[str | None, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the caches."""
        return _encoder, (self._secret, self._n_cached)

    def key(self, name: str) -> int:
        """Return the key of one id, in [0, 2**64).

        0.8 us for a new id.
        """
        key = self._known.get(name)
        if key is None:
            # surrogatepass: a file may hold characters that no API accepts
            made = self._hash.copy()
            made.update(name.encode("utf-8", "surrogatepass"))
            key = int.from_bytes(made.digest(), "little")
            if len(self._known) >= self._n_cached:
                self._known.clear()
            if len(name) <= MAX_CACHED:
                self._known[name] = key
        return key

    def network_key(self, network: str) -> int:
        """Return the key of a /24 or /48 network.

         The upper 32 bits are from the hash of its group (the /16 or /32 around it), the lower 32 from its own hash.
        So a group needs no column of its own. Within a group, prefixes still differ in 32 bits.

        >>> one, other = (Encoder(b"").network_key(f"192.0.{third}.0/24") for third in (2, 3))
        >>> one != other, one >> 32 == other >> 32
        (True, True)
        """
        key = self._networks.get(network)
        if key is None:
            key = (self.key(group_of(network)) & 0xFFFFFFFF) << 32 | self.key(network) & 0xFFFFFFFF
            if len(self._networks) >= self._n_cached:
                self._networks.clear()
            self._networks[network] = key
        return key

    def context_key(self, text: str | None, *, empty: int = 0) -> int:
        """Return the key of a session, user agent or referrer, 0 for None.

        empty: the key of an empty text.
        """
        return self.key(text) if text else 0 if text is None else empty

    def address_key(self, ip: str | None) -> int:
        """Return the key of the network of an address, 0 if it is no address."""
        key = self._addresses.get(ip)
        return self._address_key(ip) if key is None else key

    def keys(self, names: Sequence[str]) -> NDArray[np.uint64]:
        """Return the keys of many ids, shape (n,)."""
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
        """Make a batch of columns whose ids are text.

         A None, or a column that is not given, is unknown. An empty referrer means that there is none. `is_automated`
        adds events to those whose user agent declares it.
        """
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
            np.require(kind, requirements="W"),  # a loop would be compiled again for one that is read-only
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
        if len(self._addresses) >= self._n_cached:
            self._addresses.clear()
        if len(ip or "") <= MAX_CACHED:
            self._addresses[ip] = key
        return key

    def _context_keys(self, texts: Texts | None, n: int, empty: int = 0) -> NDArray[np.uint64]:
        if texts is None:
            return np.zeros(n, np.uint64)
        known: dict[str | None, int] = {None: 0, "": empty}  # of this batch, since sessions and agents repeat
        for text in set(texts).difference(known):
            known[text] = self.key(text or "")
        return np.fromiter((known[text] for text in texts), np.uint64, count=n)


def _encoder(secret: bytes, n_cached: int) -> Encoder:
    return Encoder(secret, n_cached=n_cached)


@lru_cache(maxsize=65_536)
def is_declared(user_agent: str | None) -> bool:
    """Return True if a user agent declares that no person is reading.

    It uses the list of the package crawler-user-agents. 0.2 ms for a new user agent.

    >>> is_declared("Googlebot/2.1 (+http://www.google.com/bot.html)"), is_declared("Mozilla/5.0"), is_declared(None)
    (True, False, False)
    """
    if not user_agent:
        return False
    return user_agent.lower().startswith(PREFETCH) or bool(is_crawler(user_agent))


@lru_cache(maxsize=65_536)
def network_of(ip: str | None) -> str | None:
    """Return the /24 or /48 network of an address, or None if it is no address.

    Such a network is returned as it is, because it may be all that was kept of an address.

    >>> network_of("192.0.2.77"), network_of("2001:db8:1:2::3"), network_of("unknown")
    ('192.0.2.0/24', '2001:db8:1::/48', None)
    >>> network_of("192.0.2.0/24"), network_of("192.0.0.0/16"), network_of("192.0.2.77/24")
    ('192.0.2.0/24', None, None)
    """
    octets = _octets(ip or "")
    if octets is None:
        return _as_network(ip or "")
    if len(octets) == 16 and octets[:12] == _MAPPED:
        octets = octets[12:]
    return _network(octets, 24 if len(octets) == 4 else 48)


def _as_network(text: str) -> str | None:
    """Return a text that is a /24 or /48 network as this module writes it, or None."""
    octets = _octets(text.partition("/")[0]) if "/" in text else None
    if octets is None:
        return None
    network = _network(octets, 24 if len(octets) == 4 else 48)
    return network if network == text else None


def group_of(network: str) -> str:
    """Return the /16 or /32 around a /24 or /48 network.

    An address alone reveals no more about which networks belong to one operator.

    >>> group_of("192.0.2.0/24"), group_of("2001:db8:1::/48")
    ('192.0.0.0/16', '2001:db8::/32')
    """
    octets = _octets(network.partition("/")[0])
    if octets is None:
        raise ValueError(f"{network} is no network: write it like 192.0.2.0/24")
    return _network(octets, 16 if len(octets) == 4 else 32)


def _octets(ip: str) -> bytes | None:
    """Return the 4 or 16 bytes of an address, or None if it is none.

    The system's parser takes a twentieth of the time of Python's, which reads what the system's refuses.
    """
    try:
        return inet_pton(AF_INET6 if ":" in ip else AF_INET, ip)
    except (OSError, ValueError):
        try:
            return ip_address(ip).packed
        except ValueError:
            return None


def _network(octets: bytes, n_bits: int) -> str:
    """Return the network of an address's first bits, which must be whole bytes."""
    first = octets[: n_bits // 8] + bytes(len(octets) - n_bits // 8)
    return f"{inet_ntop(AF_INET if len(octets) == 4 else AF_INET6, first)}/{n_bits}"


def country_code(country: str) -> int:
    """Return a two-letter country as a small number, or 0 for anything else.

    >>> country_code("DE"), country_name(country_code("DE")), country_code("Mars")
    (113, 'DE', 0)
    """
    if len(country) != 2 or not ("A" <= country[0] <= "Z" and "A" <= country[1] <= "Z"):
        return 0
    return (ord(country[0]) - 64) * 27 + ord(country[1]) - 64


def country_codes(letters: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the numbers of many countries, (n,).

    letters: two ASCII letters each, (n, 2).

    >>> country_codes(np.frombuffer(b"DEde", np.uint8).reshape(2, 2)).tolist()
    [113, 0]
    """
    numbers = letters.astype(np.int16) - 64
    is_known = ((numbers >= 1) & (numbers <= 26)).all(axis=1)
    return np.where(is_known, numbers[:, 0] * 27 + numbers[:, 1], 0).astype(np.int16)


def country_name(code: int) -> str:
    """Return the two letters of a country's number."""
    return chr(code // 27 + 64) + chr(code % 27 + 64)
