"""Ids of served lists, by which clicks are credited to sources of candidates.

An id holds its own content and cannot be forged.

    GET  recommendations ──> issue(actor, sources) ──> the answer's `recommendation`
    POST events: click with `recommendation` and `position` ──> credit ──> one click for the source of that place

Groundswell keeps no record of served lists. An id holds the time of serving, the source of each place in two bits,
and a MAC over both and the actor, keyed from SECRET_KEY. It has 24 characters for ten places, 86 for two hundred.

A click is credited if its id is whole, belongs to that actor and is at most an hour old. Any other click is still
learned like every click, and is only counted here as not credited. Credits are figures to watch, and nothing is
learned from them. So a client that sends its own click twice falsifies a chart and nothing else.
"""

import base64
import binascii
import time
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from hmac import compare_digest

from django.conf import settings

from recommender import counters
from recommender.core.vocabulary import Kind
from recommender.log.event_log import NewEvents
from recommender.process_state import remembered

SOURCES = ("similar", "trending", "fresh", "steady")
"""Sources of a place's item.

similar: it goes with items the actor acted on.
trending: it trends in the scope.
fresh: it is new and being tried.
steady: it has been read for hours.
"""
MAX_AGE_S = 3600
MAX_PLACES = 200

_CLICK = int(Kind.CLICK)
_TIME, _MAC = 4, 8  # bytes


def issue(*, actor: str, sources: Sequence[int], now_s: float) -> str:
    """Return the id of a list.

    sources: numbers of SOURCES, best place first, at most MAX_PLACES.
    """
    payload = int(now_s).to_bytes(_TIME, "big") + _pack(sources)
    return base64.urlsafe_b64encode(payload + _mac(payload, actor)).decode().rstrip("=")


def source_of(*, recommendation: str, actor: str, position: int, now_s: float) -> str | None:
    """Return the source of a place (from 0) of a list served to an actor.

    It is None if the id is not ours, not this actor's, too old, or has no such place.
    """
    try:
        whole = base64.urlsafe_b64decode(recommendation + "=" * (-len(recommendation) % 4))
    except (binascii.Error, ValueError):
        return None
    payload, mac = whole[:-_MAC], whole[-_MAC:]
    if len(payload) <= _TIME or not compare_digest(mac, _mac(payload, actor)):
        return None
    if not 0 <= now_s - int.from_bytes(payload[:_TIME], "big") <= MAX_AGE_S:
        return None
    n, packed = payload[_TIME], payload[_TIME + 1 :]
    return SOURCES[packed[position // 4] >> 2 * (position % 4) & 3] if 0 <= position < n else None


def shown(sources: Sequence[int]) -> None:
    """Count the places of a list, by source."""
    for number in set(sources):
        counters.RECOMMENDED.labels(SOURCES[number]).inc(sources.count(number))


def credit(events: NewEvents) -> None:
    """Count clicks on recommended items, by source."""
    if not any(events.recommendation):
        return
    now_s = time.time()
    for place, recommendation in enumerate(events.recommendation):
        if recommendation is None or events.kind[place] != _CLICK:
            continue
        position = events.position[place]
        source = source_of(
            recommendation=recommendation,
            actor=events.actor[place],
            position=-1 if position is None else position,
            now_s=now_s,
        )
        counters.RECOMMENDED_CLICKS.labels(source or "not_credited").inc()


def _pack(sources: Sequence[int]) -> bytes:
    """Return the number of sources, then the sources, four to a byte.

    >>> _pack([0, 1, 2, 3, 1]).hex()
    '05e401'
    """
    if not 0 < len(sources) <= MAX_PLACES:
        raise ValueError(f"a list has 1 to {MAX_PLACES} places")
    packed = bytearray(-(-len(sources) // 4))
    for place, source in enumerate(sources):
        packed[place // 4] |= source << 2 * (place % 4)
    return bytes([len(sources)]) + bytes(packed)


def _mac(payload: bytes, actor: str) -> bytes:
    return blake2b(payload + actor.encode(), digest_size=_MAC, key=_key()).digest()


@cache
def _key() -> bytes:
    return blake2b(settings.SECRET_KEY.encode(), digest_size=32, person=b"recommendation").digest()


remembered(_key.cache_clear)
