"""The address of a Valkey or Redis store, directly or through sentinels.

    redis://user:password@host:port/db      rediss:// with TLS      unix:///path/to/socket?db=1
    redis+sentinel://user:password@s1:26379,s2:26379/SERVICE/db     rediss+sentinel:// with TLS to all of them

The certificate of a TLS server is verified, with the system's authorities or those in `ssl_ca_certs`. An option that
is not known is refused by its name.
"""

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from redis.sentinel import Sentinel

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
SENTINEL_PORT = 26_379


@dataclass(frozen=True, kw_only=True)
class SentinelAddress:
    """A service that sentinels watch.

    login: username and password of the servers. sentinel_login: those of the sentinels.
    tls: options of redis-py's TLS connections, or None without TLS.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    login: dict[str, str] = field(repr=False)
    sentinel_login: dict[str, str] = field(repr=False)
    tls: dict[str, Any] | None


def connect(url: str, *, timeout_s: float) -> Any:
    """Return a client of the store, which connects when it is first used.

    Through sentinels it follows the service to its new server after a failover. redis-py types its answers as text or
    bytes. Here they are bytes. Raises ValueError for an address that cannot be used.
    """
    limits = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    if not urlsplit(url).scheme.endswith("+sentinel"):
        return redis.Redis.from_url(url, **limits)
    return _connect_by_sentinels(parse_sentinels(url), limits)


def _connect_by_sentinels(address: SentinelAddress, limits: dict[str, Any]) -> redis.Redis:
    secured = {"ssl": True, **address.tls} if address.tls is not None else {}
    make: Any = Sentinel  # redis-py does not type it
    sentinels = make(
        list(address.hosts),
        sentinel_kwargs={**address.sentinel_login, **secured, **limits},
        db=address.db,
        **address.login,
        **secured,
        **limits,
    )
    client: redis.Redis = sentinels.master_for(address.service, redis_class=_Followed)
    return client


class _Followed(redis.Redis):
    """A client that also closes its connections to the sentinels."""

    def close(self) -> None:
        super().close()
        manager: Any = getattr(self.connection_pool, "sentinel_manager", None)
        if manager is not None:
            manager.close()


def check(url: str) -> None:
    """Raise ValueError, with a sentence, if an address cannot be used.

    It does not connect.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"it must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if parts.scheme.endswith("+sentinel"):
        parse_sentinels(url)
        return
    query = dict(parse_qsl(parts.query))
    parse_tls(query, is_secure=parts.scheme == "rediss")
    try:
        pool = redis.Redis.from_url(url).connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, redis.RedisError) as error:
        named = [name for name in query if f"'{name}'" in str(error)]
        raise ValueError(f"the option {named[0]} is not known" if named else str(error)) from None


def parse_sentinels(url: str) -> SentinelAddress:
    """Return the parts of a redis+sentinel:// address. Raises ValueError."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    is_secure = parts.scheme.startswith("rediss")
    tls = parse_tls(query, is_secure=is_secure)
    sentinel_login = {
        name.removeprefix("sentinel_"): query.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in query
    }
    service, _, db = parts.path.strip("/").partition("/")
    db = query.pop("db", db) or "0"
    if query:
        raise ValueError(f"the option {next(iter(query))} is not known")
    if not service or not db.isdecimal():
        raise ValueError("sentinels need the name of their service: redis+sentinel://host:26379/SERVICE/DB")
    login, _, _ = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    named = {"username": unquote(username), "password": unquote(password)}
    return SentinelAddress(
        hosts=_hosts(parts),
        service=unquote(service),
        db=int(db),
        login={name: value for name, value in named.items() if value},
        sentinel_login=sentinel_login,
        tls=tls if is_secure else None,
    )


def parse_tls(query: dict[str, str], *, is_secure: bool) -> dict[str, Any]:
    """Remove the TLS options from a URL's query, and return them for redis-py.

    Raises ValueError.
    """
    given: dict[str, Any] = {name: query.pop(name) for name in TLS_OPTIONS if name in query}
    if given and not is_secure:
        raise ValueError(f"the option {next(iter(given))} needs rediss://")
    for name in TLS_FILES:
        if name in given and not os.access(given[name], os.R_OK):
            raise ValueError(f"{name} names a file that cannot be read: {given[name]}")
    given.setdefault("ssl_cert_reqs", "required")
    if given["ssl_cert_reqs"] not in ("required", "none"):
        raise ValueError("ssl_cert_reqs must be required or none")
    is_checked = str(given.get("ssl_check_hostname", "true")).lower()
    if is_checked not in ("true", "false"):
        raise ValueError("ssl_check_hostname must be true or false")
    given["ssl_check_hostname"] = is_checked == "true" and given["ssl_cert_reqs"] == "required"
    return given


def _hosts(parts: SplitResult) -> tuple[tuple[str, int], ...]:
    found = []
    for each in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{each}")
        if not one.hostname:
            raise ValueError("each sentinel must be host or host:port, separated by commas")
        found.append((one.hostname, one.port or SENTINEL_PORT))
    return tuple(found)
