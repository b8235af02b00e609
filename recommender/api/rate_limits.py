"""The rate limit of a key, the same over all processes.

One script per request counts it in the view store. The window slides over one second. For ingest each event costs
one, elsewhere each request. A key without a rate needs no call to the store. While the store is away no one is
limited. The limit protects the server from a client gone wild, and refusing everyone would do that client's work.
"""

from typing import cast

from django.conf import settings
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis, RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from recommender import counters
from recommender.api.api_keys import Key
from recommender.connections import store_address
from recommender.database_outage import Pause
from recommender.errors import RateLimited
from recommender.process_state import Clock, clock, remembered

STORE_TIMEOUT_S = 0.25


class Rates:
    """The rates that a process counts in the store, in windows of `window_s`."""

    def __init__(self, now: Clock = clock, window_s: int = 1) -> None:
        self.now, self.window_s = now, window_s
        self._limiters: dict[str, SlidingWindowCounterRateLimiter] = {}
        self._clients: dict[str, Redis] = {}
        self._pause = Pause(now)

    def charge(self, key: Key, *, cost: int) -> None:
        if key.rate_per_s is None or cost == 0:
            return
        if cost > key.rate_per_s:
            raise RateLimited(
                f"This key may send {key.rate_per_s} events per second, but this body has {cost}."
                " Send smaller batches."
            )
        if self._pause.is_on:
            counters.UNLIMITED.inc()
            return
        started = self.now()
        rate = RateLimitItemPerSecond(key.rate_per_s, self.window_s)
        try:
            is_allowed = self._limiter().hit(rate, "key", str(key.id), cost=cost)
        except (RedisError, OSError):
            self._pause.after(self.now() - started)
            counters.UNLIMITED.inc()
            return
        if not is_allowed:
            raise RateLimited(
                f"This key may send only {key.rate_per_s} per second. Wait as long as the Retry-After header asks,"
                " then send again."
            )

    def forget(self) -> None:
        self._limiters.clear()
        self._clients.clear()
        self._pause.end()

    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        url = settings.VIEW_URL
        if url not in self._limiters:
            client = store_address.connect(url, timeout_s=STORE_TIMEOUT_S)
            # The pool has the address. The client closes the pool when it is dropped.
            storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix="groundswell:rate")
            self._clients[url] = client
            self._limiters[url] = SlidingWindowCounterRateLimiter(storage)
        return self._limiters[url]


rates = Rates()
remembered(rates.forget)


def charge(key: Key, *, cost: int = 1) -> None:
    """Count a cost against the rate of a key.

    Raises RateLimited.
    """
    rates.charge(key, cost=cost)


class KeyThrottle(BaseThrottle):
    """Apply the rate limit to DRF's views."""

    def allow_request(self, request: Request, view: object) -> bool:  # noqa: ARG002 (DRF's signature)
        if request.auth is not None:
            charge(cast(Key, request.auth))
        return True
