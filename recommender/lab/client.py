"""A small client of the HTTP API for this project's own commands.

    events ──JSON──> POST /api/v1/events ──> Receipt
       └── 429, 5xx, no connection, no answer: the very same bytes again, after Retry-After or a growing pause

An event is sent until the server has answered for it. If no answer comes, the client cannot know whether the request
was stored. So callers give every event an `event_id`. Then a repeat does no harm, and no event is lost or counted
twice. If another try cannot help (a wrong key, a body that is not JSON), the client raises `Refused` at once.

It keeps the connection alive and needs only the standard library. One `Client` is one connection and belongs to one
thread.
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
    """The client was told to stop while a request had no answer yet."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer of the server.

    retry_after_s: seconds that the server asked the client to wait, None if it did not ask.
    """

    status: int
    body: bytes
    retry_after_s: float | None = None

    def error(self) -> tuple[str, str]:
        """Return code and message of an error, also if it lacks the API's error shape."""
        try:
            error = orjson.loads(self.body)["error"]
            return str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            return "unknown", self.body[:200].decode(errors="replace")


@dataclass(slots=True)
class Receipt:
    """Counts of answered events. `rejected` counts by code. Receipts add up with `+=`."""

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
    """Log one line per wait. This is the usual `on_wait`."""
    logger.warning("%s. Sending the same request again in %.1f s.", reason, pause_s)


class Client:
    """One connection to a server.

    stop: ends every wait.
    on_wait: is called with (reason, pause_s) before each wait.
    n_retries: the number of repeated requests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        stop: threading.Event | None = None,
        on_wait: Callable[[str, float], None] = warn,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Prepare the connection. Raises ValueError if `url` is not http:// or https://."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a server. It looks like http://127.0.0.1:8000.")
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
        """Read JSON from a path. Raises Refused, Stopped."""
        return self.send("GET", path)

    def send(self, method: str, path: str, value: Any = None) -> Any:
        """Repeat a request until its answer is final, and return the JSON of the answer.

        Raises Refused, and Stopped if `stop` is set during a wait.
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
        """Send a request once. Raises OSError and http.client.HTTPException.

        If the open connection has been closed, it tries once more on a new one.
        """
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
        # A server may close an idle connection at any time. A new connection must work.
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
    """Return the seconds to wait, from either form of the header.

    It returns None if the header is missing or makes no sense.

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
