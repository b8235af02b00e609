"""Ids of served lists, by which clicks are credited to sources of candidates.

An id holds its own content and cannot be forged.

    GET  recommendations ──> issue(actor, sources) ──> the answer's `recommendation`
    POST events: click with `recommendation` and `position` ──> judge ──> (validity, pay key)
         the append stores each pay key once ──> credit ──> one click for the source of that place

Groundswell keeps no record of served lists. An id holds the time of serving, the source of each place in two bits,
and a MAC over both and the actor, keyed from SECRET_KEY. It has 24 characters for ten places, 86 for two hundred.

A click is credited if its id is whole, belongs to that actor and is at most an hour old. Any other click is still
learned like every click, and is only counted here as not credited. Credits are figures to watch, and nothing is
learned from them. A place of a list pays once for each kind of act, by a pay key that the log keeps.
"""

import base64
import binascii
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from hmac import compare_digest

from django.conf import settings

from recommender import counters
from recommender.core.vocabulary import Kind, ListValidity
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
CLOCKS_S = 5  # another web process may know the database's clock by so much less
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
    found = judge(recommendation=recommendation, actor=actor, item="", position=position, kind=_CLICK, now_s=now_s)
    return _source_at(recommendation, position) if found[0] == ListValidity.VALID else None


def judge(
    *,
    recommendation: str,
    actor: str,
    item: str,  # noqa: ARG001 - the id does not bind the item yet
    position: int | None,
    kind: int,
    now_s: float,
) -> tuple[ListValidity, bytes | None]:
    """Return whether an id is good for an act, and the pay key.

    The pay key has 16 bytes. It is None unless the id is VALID. It is never SPENT: the caller stores the key together
    with the event, and changes VALID to SPENT if the key was stored before.
    """
    whole = _decode(recommendation)
    payload, mac = whole[:-_MAC], whole[-_MAC:]
    if len(payload) <= _TIME or not compare_digest(mac, _mac(payload, actor)):
        return ListValidity.NOT_OURS, None
    if not -CLOCKS_S <= now_s - int.from_bytes(payload[:_TIME], "big") <= MAX_AGE_S:
        return ListValidity.EXPIRED, None
    if position is None or not 0 <= position < payload[_TIME]:
        return ListValidity.NO_PLACE, None
    place = b"%b:%d:%d" % (whole, position, kind)
    return ListValidity.VALID, blake2b(place, digest_size=16, person=b"groundswell:pay").digest()


def judge_all(events: NewEvents, *, now_s: float) -> None:
    """Note the validity of the lists that events name, and what each would pay."""
    if not any(events.recommendation):
        return
    paid: set[bytes] = set()
    for place, recommendation in enumerate(events.recommendation):
        if recommendation is None:
            continue
        validity, pay_key = judge(
            recommendation=recommendation,
            actor=events.actor[place],
            item=events.item[place],
            position=events.position[place],
            kind=events.kind[place],
            now_s=now_s,
        )
        if pay_key in paid:  # an earlier event of this body has it
            validity, pay_key = ListValidity.SPENT, None
        if pay_key is not None:
            paid.add(pay_key)
        events.list_validity[place], events.pay_key[place] = int(validity), pay_key


def shown(sources: Sequence[int]) -> None:
    """Count the places of a list, by source."""
    for number in set(sources):
        counters.RECOMMENDED.labels(SOURCES[number]).inc(sources.count(number))


def credit(events: NewEvents, validity: Sequence[int | None]) -> None:
    """Count clicks on recommended items, by source.

    validity: a `ListValidity` for each event, after payment. None for an event that named no list or was not stored.
    """
    for kind, recommendation, position, found in zip(
        events.kind, events.recommendation, events.position, validity, strict=True
    ):
        if recommendation is None or found is None or kind != _CLICK:
            continue
        source = "not_credited"
        if found == ListValidity.VALID and position is not None:
            source = _source_at(recommendation, position)
        counters.RECOMMENDED_CLICKS.labels(source).inc()


def _decode(recommendation: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(recommendation + "=" * (-len(recommendation) % 4))
    except (binascii.Error, ValueError):
        return b""


def _source_at(recommendation: str, position: int) -> str:
    packed = _decode(recommendation)[_TIME + 1 : -_MAC]
    return SOURCES[packed[position // 4] >> 2 * (position % 4) & 3]


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
