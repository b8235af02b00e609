"""Ids of served lists, each bound to its actor and to the item at each place.

An id holds its own content and cannot be forged. Groundswell keeps no record of served lists.

    GET  recommendations ──> issue(actor, items, sources) ──> the answer's `recommendation`
    POST events: an act with `recommendation` and `position` ──> judge ──> (validity, pay key)
         the append keeps each pay key once: the first act is VALID, any other is SPENT ──> credit

The parts of an id, before base64, which makes four characters of three bytes:

    time of serving   4 bytes, unix seconds
    check of actor    2 bytes: keyed hash of the actor and the time
    MAC               6 bytes: keyed hash of all other parts
    each place        3 bytes: the source in 2 bits, and a tag of 22 bits

A tag is a keyed hash of actor, item, place and time. An id has 16 characters and 4 for each place: 56 for a list of
ten, 816 for a list of MAX_PLACES. The first NAME_LENGTH name the list, and the log keeps only these.

**Guessing.** An attacker without the key cannot make an id (one in 2**48), and cannot test a guess without sending
an event. With an id of its own, it can claim another item at a place. The tag fits by chance once in 4,194,304
(2**22) tries, and a try again with the same list, place and item has the same result. Each try is an event in the log
with its validity, so the tries are seen long before one fits.

**Paying.** A place pays once for each kind of act: an exposure or a view does not use up the click. `judge` keeps no
state and never returns SPENT. The caller stores the pay key in the transaction that stores the event, and changes
VALID to SPENT if the key was stored already. A duplicate event must not store its pay key.

The keys come from SECRET_KEY, since an id lives for an hour and a leaked key must lose its worth at once. Ids made
under SECRET_KEY_FALLBACKS stay valid. An id from an earlier version of this module is NOT_OURS.

Every act is learned, also one with a wrong id. The time of serving and the time of the act are both the database's
(`recommender.database_clock`), so it does not matter that the clocks of two machines differ.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
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
NAME_LENGTH = 16  # characters: the time, the check and the MAC

_CLICK = int(Kind.CLICK)
_TIME, _CHECK, _MAC, _PLACE = 4, 2, 6, 3  # bytes
_HEAD = _TIME + _CHECK + _MAC
_MAX_LENGTH = 4 * (_HEAD + _PLACE * MAX_PLACES) // 3  # characters
_TAG_BITS = 8 * _PLACE - 2
_TAG = (1 << _TAG_BITS) - 1


def issue(*, actor: str, items: Sequence[str], sources: Sequence[int], now_s: float) -> str:
    """Return the id of a list. About 1 us a place.

    items: best place first, at most MAX_PLACES.
    sources: their numbers of SOURCES.
    """
    if not 0 < len(items) <= MAX_PLACES:
        raise ValueError(f"a list has 1 to {MAX_PLACES} places")
    key, served = _keys()[0], int(now_s).to_bytes(_TIME, "big")
    of_list = _of_list(key, served, actor)
    places = b"".join(
        (source << _TAG_BITS | _tag(of_list, item, place)).to_bytes(_PLACE, "big")
        for place, (item, source) in enumerate(zip(items, sources, strict=True))
    )
    check = _check(of_list)
    return base64.urlsafe_b64encode(served + check + _mac(key, served + check, places) + places).decode()


def judge(
    *, recommendation: str, actor: str, item: str, position: int | None, kind: int, now_s: float
) -> tuple[ListValidity, bytes | None]:
    """Return whether an id is good for an act, and the pay key.

    The pay key has 16 bytes. It is None unless the id is VALID. About 10 us.

    recommendation: any text at all.
    position: the place, from 0.
    kind: a `Kind`. Each has a pay key of its own.
    """
    whole = _decode(recommendation)
    key = next((key for key in _keys() if _is_ours(key, whole)), None)
    if key is None:
        return ListValidity.NOT_OURS, None
    served = whole[:_TIME]
    if not -CLOCKS_S <= now_s - int.from_bytes(served, "big") <= MAX_AGE_S:
        return ListValidity.EXPIRED, None
    of_list = _of_list(key, served, actor)
    if not compare_digest(whole[_TIME : _TIME + _CHECK], _check(of_list)):
        return ListValidity.OTHER_ACTOR, None
    if position is None or not 0 <= position < _n_places(whole):
        return ListValidity.NO_PLACE, None
    if _place(whole, position) & _TAG != _tag(of_list, item, position):
        return ListValidity.OTHER_ITEM, None
    return ListValidity.VALID, _pay_key(whole, position, kind)


def judge_all(events: NewEvents, *, now_s: float) -> None:
    """Note the validity of the lists that events name, and what each would pay.

    If several events of a body would be paid for one place, only the first keeps its pay key.
    """
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


def shortened(events: NewEvents) -> NewEvents:
    """Return judged events to store, with the name of each list instead of its id."""
    if not any(events.recommendation):
        return events
    return replace(events, recommendation=[each and each[:NAME_LENGTH] for each in events.recommendation])


def source_of(*, recommendation: str, position: int) -> str:
    """Return the source of a place, for an id that `judge` found valid there."""
    return SOURCES[_place(_decode(recommendation), position) >> _TAG_BITS]


def shown(sources: Sequence[int]) -> None:
    """Count the places of a list, by source."""
    for number in set(sources):
        counters.RECOMMENDED.labels(SOURCES[number]).inc(sources.count(number))


def credit(events: NewEvents, validity: Sequence[int | None]) -> None:
    """Count clicks on recommended items, by source.

    validity: a `ListValidity` for each event, after payment. None if it named no list or was not stored.
    """
    for kind, recommendation, position, valid in zip(
        events.kind, events.recommendation, events.position, validity, strict=True
    ):
        if recommendation is None or valid is None or kind != _CLICK:
            continue
        source = "not_credited"
        if valid == ListValidity.VALID and position is not None:
            source = source_of(recommendation=recommendation, position=position)
        counters.RECOMMENDED_CLICKS.labels(source).inc()


# -- the parts of an id ----------------------------------------------------------------------------------------------


def _decode(recommendation: str) -> bytes:
    """Return the bytes of an id, or none if the text cannot be one.

    MAC and pay key are over bytes, so another spelling of the same bytes gains nothing.
    """
    if len(recommendation) > _MAX_LENGTH or len(recommendation) % 4:
        return b""
    try:
        return base64.b64decode(recommendation, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_ours(key: bytes, whole: bytes) -> bool:
    n_bytes = len(whole) - _HEAD
    if n_bytes <= 0 or n_bytes % _PLACE or n_bytes > _PLACE * MAX_PLACES:
        return False
    beginning, mac, places = whole[: _TIME + _CHECK], whole[_TIME + _CHECK : _HEAD], whole[_HEAD:]
    return compare_digest(mac, _mac(key, beginning, places))


def _n_places(whole: bytes) -> int:
    return (len(whole) - _HEAD) // _PLACE


def _place(whole: bytes, place: int) -> int:
    start = _HEAD + _PLACE * place
    return int.from_bytes(whole[start : start + _PLACE], "big")


def _mac(key: bytes, beginning: bytes, places: bytes) -> bytes:
    return blake2b(beginning + places, digest_size=_MAC, key=key, person=b"list").digest()


def _of_list(key: bytes, served: bytes, actor: str) -> blake2b:
    """Return a hash that has taken in the time and the actor.

    The length before the actor's text keeps it apart from a following item.
    """
    name = actor.encode("utf-8", "surrogatepass")
    return blake2b(served + len(name).to_bytes(4, "big") + name, digest_size=_PLACE, key=key, person=b"list place")


def _check(of_list: blake2b) -> bytes:
    return of_list.digest()[:_CHECK]


def _tag(of_list: blake2b, item: str, place: int) -> int:
    of_place = of_list.copy()
    of_place.update(place.to_bytes(2, "big") + item.encode("utf-8", "surrogatepass"))
    return int.from_bytes(of_place.digest(), "big") & _TAG


def _pay_key(whole: bytes, place: int, kind: int) -> bytes:
    """Hash a place of a list and a kind of act.

    No event id has such a key, because `person` keeps the domains apart.
    """
    return blake2b(
        whole + place.to_bytes(2, "big") + bytes([kind]), digest_size=16, person=b"groundswell:pay1"
    ).digest()


def _keys() -> tuple[bytes, ...]:
    """Return the present key, then those of SECRET_KEY_FALLBACKS."""
    return tuple(_key(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=16)
def _key(secret: str) -> bytes:
    return blake2b(secret.encode(), digest_size=32, person=b"recommendation").digest()


remembered(_key.cache_clear)
