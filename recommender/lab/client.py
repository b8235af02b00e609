"""A small client of the HTTP API for this project's own commands: keep-alive, patient, never in doubt.

    events ──JSON──> POST /api/v1/events ──> Receipt
       └── 429, 5xx, no connection, no answer: the very same bytes again, after Retry-After or a growing pause

An event is sent until the server has answered for it. Whether a request without an answer was stored is unknown, so
callers give every event an `event_id`: repeating is then harmless, and nothing is lost or counted twice. What another
try cannot change (a wrong key, a body that is no JSON) is raised as `Refused` at once.

Standard library only; one `Client` is one connection and belongs to one thread.
"""

import http.client
import logging
import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
LONGEST_RETRY_AFTER_S = 60.0
TIMEOUT_S = 30.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The server will not take this request, however often it is sent."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(f"{status} {code}: {message}")


class Stopped(Exception):
    """We were told to stop while a request was still without an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """status, body, and the seconds the server asked us to wait (None: it did not say)."""

    status: int
    body: bytes
    retry_after_s: float | None = None

    def error(self) -> tuple[str, str]:
        """Code and message, in the API's one error shape or in what else stands there."""
        try:
            error = orjson.loads(self.body)["error"]
            return str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            return "unknown", self.body[:200].decode(errors="replace")


@dataclass(slots=True)
class Receipt:
    """What became of events: `rejected` counts by code. Receipts add up with `+=`."""

    accepted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Receipt") -> "Receipt":
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.rejected += other.rejected
        return self

    @property
    def n_answered(self) -> int:
        return self.accepted + self.duplicates + self.rejected.total()


def warn(reason: str, pause_s: float) -> None:
    """The usual `on_wait`: a line in the log."""
    logger.warning("%s; the same again in %.1f s", reason, pause_s)


class Client:
    """One connection. `stop` ends every wait; `on_wait(reason, pause_s)` hears of each; `n_retries` counts them."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        stop: threading.Event | None = None,
        on_wait: Callable[[str, float], None] = warn,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Raises ValueError where `url` is no http:// or https:// address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a server; it looks like http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._root = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "groundswell"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._stop = stop or threading.Event()
        self._on_wait = on_wait
        self.n_retries = 0

    def post_events(self, events: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send one batch until it is answered. Raises Refused, Stopped."""
        answered = self.send("POST", "/api/v1/events", {"events": events})
        rejected = Counter(each["code"] for each in answered["rejected"])
        return Receipt(answered["accepted"], answered["duplicates"], rejected)

    def put_items(self, items: Sequence[Mapping[str, Any]]) -> Any:
        """Describe items. Raises Refused, Stopped."""
        return self.send("PUT", "/api/v1/items", {"items": items})

    def get(self, path: str) -> Any:
        """Read a JSON address. Raises Refused, Stopped."""
        return self.send("GET", path)

    def send(self, method: str, path: str, value: Any = None) -> Any:
        """One request, repeated until it has an answer that will not change; returns the JSON of it.

        Raises Refused, and Stopped where `stop` was set while waiting to try again.
        """
        body = None if value is None else orjson.dumps(value)
        n_tries = 0
        while True:
            if n_tries and self._stop.is_set():
                raise Stopped
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(n_tries, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
            try:
                answer = self.request(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{self._connection.host}:{self._connection.port} does not answer ({_told(error)})"
            else:
                if answer.status < 300:
                    return orjson.loads(answer.body) if answer.body else None
                code, message = answer.error()
                if answer.status not in RETRIED:
                    raise Refused(answer.status, code, message)
                reason = f"the server answers {answer.status} {code}: {message}"
                if answer.retry_after_s is not None:
                    pause_s = answer.retry_after_s
            n_tries += 1
            self.n_retries += 1
            self._on_wait(reason, pause_s)
            if self._stop.wait(pause_s):
                raise Stopped

    def request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """One try on the open connection, or on a new one. Raises OSError and http.client.HTTPException."""
        is_reused = self._connection.sock is not None
        try:
            return self._request(method, path, body)
        except (ConnectionError, http.client.RemoteDisconnected):
            self._connection.close()
            if not is_reused:
                raise
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        # A server may close an idle connection at any time; on a fresh one it has no such excuse.
        try:
            return self._request(method, path, body)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def _request(self, method: str, path: str, body: bytes | None) -> Reply:
        self._connection.request(method, self._root + path, body=body, headers=self._headers)
        response = self._connection.getresponse()
        content = response.read()
        return Reply(response.status, content, _retry_after_s(response.headers.get("Retry-After")))


def _retry_after_s(header: str | None) -> float | None:
    """Seconds from now, from either form of the header; None where it is missing or makes no sense.

    >>> _retry_after_s("2"), _retry_after_s("soon"), _retry_after_s("99999999")
    (2.0, None, 60.0)
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) else None


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
