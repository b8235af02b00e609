"""Send one signed POST to the operator's address.

It follows no redirects, makes no retries, and always ends after TIMEOUT_S.

    X-Groundswell-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256(secret, "<t>." + body)>
    X-Groundswell-Event: <id, the same in every try>

The receiver computes v1 again, refuses a `t` minutes away from its own clock, and drops an id that it has seen. This
module uses no database and only the standard library. The address may hold a token, so errors name only its host.
"""

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
USER_AGENT = "groundswell"


class DeliveryFailed(Exception):
    """The message did not arrive, or the receiver did not confirm it."""


def sign(body: bytes, *, secret: str, t: int) -> str:
    """Return the signature's header.

    >>> sign(b"{}", secret="s" * 16, t=1700000000)[:40]
    't=1700000000,v1=8145b6bbe655be9ac8ceb507'
    """
    digest = hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={t},v1={digest}"


def post(url: str, body: bytes, *, secret: str, event_id: str, t: int) -> None:
    """Send once, and return when the receiver answered 2xx. Raises DeliveryFailed.

    t: unix seconds of the signature.
    """
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "X-Groundswell-Event": event_id,
        "X-Groundswell-Signature": sign(body, secret=secret, t=t),
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    ends_at = time.monotonic() + TIMEOUT_S
    late = threading.Event()
    alarm: threading.Timer | None = None
    try:
        connection.connect()
        # The socket's own timeout begins again with each byte, so a byte a second would hold the worker forever.
        alarm = threading.Timer(max(0.0, ends_at - time.monotonic()), _hang_up, (connection.sock, late))
        alarm.daemon = True
        alarm.start()
        connection.request("POST", path, body=body, headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        is_late = late.is_set() or isinstance(error, TimeoutError)
        told = f"no answer within {TIMEOUT_S:g} s" if is_late else f"{type(error).__name__}: {error}"
        raise DeliveryFailed(f"{parts.hostname}: {told}") from error
    finally:
        if alarm is not None:
            alarm.cancel()
        connection.close()
    if 300 <= status < 400:
        raise DeliveryFailed(
            f"{parts.hostname} answered {status}. Redirects are not followed: configure the final address"
        )
    if not 200 <= status < 300:
        raise DeliveryFailed(f"{parts.hostname} answered {status}")


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


def _hang_up(sock: socket.socket | None, late: threading.Event) -> None:
    late.set()
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed in the meantime
            return
