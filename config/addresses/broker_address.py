"""Turn BROKER_URL into Celery's settings of the broker.

Kombu, which Celery uses, does not verify the certificate of a `rediss://` server, nor the host name of an `amqps://`
server, unless it is told to. Here both are verified by default. Kombu knows sentinels by another form of address.
"""

import ssl
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from recommender.connections import store_address

SCHEMES = ("redis", "rediss", "redis+socket", "redis+sentinel", "rediss+sentinel", "amqp", "amqps")
_CERT_REQS = {"required": ssl.CERT_REQUIRED, "none": ssl.CERT_NONE}


def parse(url: str) -> dict[str, Any]:
    """Return Celery's `broker_url`, `broker_use_ssl` and `broker_transport_options`.

    Raises ValueError, with a sentence, for an address that cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"it must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if parts.scheme.endswith("+sentinel"):
        return _by_sentinels(store_address.parse_sentinels(url))
    query = dict(parse_qsl(parts.query))
    is_secure = parts.scheme in ("rediss", "amqps")
    tls = store_address.parse_tls(query, is_secure=is_secure)
    without_tls = urlunsplit(parts._replace(query=urlencode(query)))
    if not is_secure:
        return _settings(url)
    return _settings(without_tls, _of_amqp(tls) if parts.scheme == "amqps" else _of_redis(tls))


def _by_sentinels(address: store_address.SentinelAddress) -> dict[str, Any]:
    login = ":".join(quote(address.login.get(name, ""), safe="") for name in ("username", "password"))
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in address.hosts]
    at = f"{login}@" if address.login else ""
    url = ";".join(f"sentinel://{at}{host}/{address.db}" for host in hosts)
    secured = {"ssl": True, **address.tls} if address.tls is not None else {}
    limits = {"socket_timeout": 2, "socket_connect_timeout": 2}
    transport = {
        "master_name": address.service,
        "sentinel_kwargs": {**address.sentinel_login, **secured, **limits},
    }
    return _settings(url, _of_redis(address.tls) if address.tls is not None else None, transport)


def _of_redis(tls: dict[str, Any]) -> dict[str, Any]:
    return tls | {"ssl_cert_reqs": _CERT_REQS[tls["ssl_cert_reqs"]]}


def _of_amqp(tls: dict[str, Any]) -> dict[str, Any]:
    """Return the options of py-amqp, which checks a host name only if it is given one.

    Kombu replaces a host name of None by that of the server.
    """
    files = {name.removeprefix("ssl_"): tls[name] for name in store_address.TLS_FILES if name in tls}
    return (
        files
        | {"cert_reqs": _CERT_REQS[tls["ssl_cert_reqs"]]}
        | ({"server_hostname": None} if tls["ssl_check_hostname"] else {})
    )


def _settings(
    url: str, use_ssl: dict[str, Any] | None = None, transport: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"broker_url": url, "broker_use_ssl": use_ssl, "broker_transport_options": transport or {}}
