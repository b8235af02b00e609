"""Check events as clients send them, and turn them into columns for the log.

    bytes ──Shape.decode──> structs ──column checks──> event_log.NewEvents + its keys + rejections

The checks run over whole columns, about 2 us an event, and making the keys takes 3 us. The checks look at single
events only when a column fails. Ids must be printable for two reasons: people read them in the console, and
PostgreSQL text cannot hold a NUL. User agent and referrer are cut to fit. They are never a reason to lose a click.

The keys are made of the origin as the client sent it. Only then it is shortened to what people may read (`privacy`).
"""

import ipaddress
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from socket import AF_INET, inet_pton
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from recommender.core.vocabulary import Kind
from recommender.ids import MAX_ID
from recommender.intake import privacy
from recommender.intake.json_rows import Rejection, Shape, are_printable
from recommender.log.event_log import EventKeys, NewEvents

MAX_AHEAD_S = 300.0  # clocks of honest clients are wrong by at most this much
MAX_POSITION = 1_000_000
MAX_USER_AGENT = 512
MAX_REFERRER = 1024
MAX_LIST_ID = 1024  # of a list of 200 places it has 816
# part of every stored key, so changing it makes the log forget all events it has seen
KEY_DOMAIN = b"groundswell:ev1"

CONFLICT = "conflict"
REJECTIONS = {
    "not_an_object": "An event must be a JSON object with at least `actor` and `item`.",
    "invalid_actor": f"`actor` must be a string of 1 to {MAX_ID} printable characters.",
    "invalid_item": f"`item` must be a string of 1 to {MAX_ID} printable characters.",
    "invalid_event_id": "`event_id` must be a string of 1 to 128 printable characters. You may leave it out.",
    "invalid_kind": "`kind` must be one of " + ", ".join(kind.name.lower() for kind in Kind) + ".",
    "invalid_occurred_at": "`occurred_at` must be RFC 3339 with a time zone (2026-01-31T12:00:00Z) or unix seconds.",
    "occurred_in_future": "`occurred_at` is more than 5 minutes ahead of this server. Set the client's clock.",
    "occurred_too_long_ago": "`occurred_at` is older than the events this server keeps. Send only newer events.",
    "invalid_session": "`session` must be a string of at most 128 printable characters.",
    "invalid_campaign": "`campaign` must be a string of at most 128 printable characters.",
    "invalid_value": "`value` must be a finite number.",
    "invalid_recommendation": f"`recommendation` must be a string of at most {MAX_LIST_ID:,} printable characters.",
    "invalid_position": "`position` must be a whole number from 0 to 1,000,000.",
    "invalid_context": "`context` must be an object with any of `ip`, `user_agent`, `referrer`, `country`.",
    "invalid_ip": "`context.ip` must be an IPv4 or IPv6 address.",
    "invalid_country": "`context.country` must be two letters (ISO 3166), for example DE.",
    CONFLICT: (
        "An event with this `event_id`, actor, item and kind is stored with another `value`, `position`, `session` or"
        " `recommendation`. It stays. Give a new event an id of its own."
    ),
}

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Label = Annotated[str, Meta(max_length=128)]


class Context(msgspec.Struct, gc=False):
    """The origin of an event, as the site saw it."""

    ip: str | None = None
    user_agent: Any = None
    referrer: Any = None
    country: str | None = None


NO_CONTEXT = Context()


class SentEvent(msgspec.Struct, gc=False):
    """One event as the client sent it. Other fields are ignored."""

    actor: Id
    item: Id
    event_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    kind: Literal["view", "click", "like", "share", "cart", "purchase", "rating", "exposure", "undo"] = "click"
    occurred_at: Annotated[datetime, Meta(tz=True)] | float | None = None
    session: Label | None = None
    campaign: Label | None = None
    value: float | None = None
    recommendation: Annotated[str, Meta(max_length=MAX_LIST_ID)] | None = None
    position: Annotated[int, Meta(ge=0, le=MAX_POSITION)] | None = None
    context: Context | None = None


SHAPE = Shape(SentEvent, plural="events", messages=REJECTIONS)
_KINDS = {kind.name.lower(): int(kind) for kind in Kind}
_EVENT_KEY = blake2b(digest_size=16, person=KEY_DOMAIN)  # a copy takes a quarter of the time of a new one


class Parsed(NamedTuple):
    """The events and rejections of one body.

    keys: of the events as they were sent.
    places: of the events in the body.
    """

    events: NewEvents
    keys: EventKeys
    places: Sequence[int]
    rejected: list[Rejection]

    @property
    def n_received(self) -> int:
        return len(self.events) + len(self.rejected)


def parse_events(body: bytes, *, now_s: float, oldest_s: float) -> Parsed:
    """Validate a body of events.

    Raises Unparsable and TooManyEvents. Any other problem rejects a single event.

    oldest_s: the earliest `occurred_at` that is accepted, in unix seconds.
    """
    rows, rejected = SHAPE.decode(body)
    places, events = [place for place, _ in rows], [event for _, event in rows]
    earliest, latest = oldest_s, now_s + MAX_AHEAD_S
    if not _all_valid(events, earliest, latest):
        places, events = [], []
        for place, event in rows:
            code = _problem(event, earliest, latest)
            if code is None:
                places.append(place)
                events.append(event)
            else:
                rejected.append(SHAPE.rejection(place, code))
        rejected.sort(key=lambda rejection: rejection["index"])
    columns = _columns(events)
    keys = columns.keys()  # of the events as they were sent
    _hide_origin(columns)
    return Parsed(columns, keys, places, rejected)


def event_key(event_id: str) -> bytes:
    """Hash a client's event id into the key that the log keeps, 16 bytes.

    The hash uses no secret, so that a retry is still recognised after the secret was changed. `event_keys.log_key`
    makes it one with the actor, the item and the kind.
    """
    made = _EVENT_KEY.copy()
    made.update(event_id.encode())
    return made.digest()


@lru_cache(maxsize=65_536)
def canonical_ip(text: str) -> str | None:
    """Return the one spelling of an IP address, or None if the text is no address.

    An IPv4 address that is mapped into IPv6 is returned as IPv4.

    >>> canonical_ip("::ffff:192.0.2.1"), canonical_ip("2001:DB8::0"), canonical_ip("fe80::1%eth0")
    ('192.0.2.1', '2001:db8::', None)
    """
    if len(text) > 45 or "%" in text:
        return None
    try:
        if ":" not in text:
            inet_pton(AF_INET, text)  # takes a tenth of the time, and knows one spelling only
            return text
    except (OSError, ValueError):
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _time(value: datetime | float | None) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else value


def _is_country(text: str) -> bool:
    return len(text) == 2 and text.isascii() and text.isalpha()


def _all_valid(events: list[SentEvent], earliest: float, latest: float) -> bool:
    """Return whether no event has a problem, by the same rules as `_problem`."""
    texts = [event.actor for event in events]
    texts += [event.item for event in events]
    texts += [event.event_id for event in events if event.event_id]
    texts += [event.session for event in events if event.session]
    texts += [event.campaign for event in events if event.campaign]
    texts += [event.recommendation for event in events if event.recommendation]
    if not are_printable(texts):
        return False
    for event in events:
        # `_time` returns None only for None
        if event.occurred_at is not None and not earliest <= _time(event.occurred_at) <= latest:  # type: ignore[operator]
            return False
        if event.value is not None and not isfinite(event.value):
            return False
        if (context := event.context) is not None:
            if context.ip and canonical_ip(context.ip) is None:
                return False
            if context.country and not _is_country(context.country):
                return False
    return True


def _problem(event: SentEvent, earliest: float, latest: float) -> str | None:
    """Return the code of the first problem of one event, or None."""
    for name in ("actor", "item", "event_id", "session", "campaign", "recommendation"):
        if not (getattr(event, name) or "").isprintable():
            return f"invalid_{name}"
    context = event.context or NO_CONTEXT
    if code := _time_problem(_time(event.occurred_at), earliest, latest):
        return code
    if event.value is not None and not isfinite(event.value):
        return "invalid_value"
    if context.ip and canonical_ip(context.ip) is None:
        return "invalid_ip"
    return None if not context.country or _is_country(context.country) else "invalid_country"


def _time_problem(occurred_s: float | None, earliest: float, latest: float) -> str | None:
    if occurred_s is None or earliest <= occurred_s <= latest:
        return None
    if not isfinite(occurred_s):
        return "invalid_occurred_at"
    return "occurred_in_future" if occurred_s > latest else "occurred_too_long_ago"


def _columns(events: list[SentEvent]) -> NewEvents:
    contexts = [event.context or NO_CONTEXT for event in events]
    return NewEvents(
        key=[None if event.event_id is None else event_key(event.event_id) for event in events],
        actor=[event.actor for event in events],
        item=[event.item for event in events],
        kind=[_KINDS[event.kind] for event in events],
        occurred_at=[_time(event.occurred_at) for event in events],
        session=[event.session or None for event in events],
        campaign=[event.campaign or None for event in events],
        value=[event.value for event in events],
        recommendation=[event.recommendation or None for event in events],
        position=[event.position for event in events],
        ip=[canonical_ip(context.ip) if context.ip else None for context in contexts],
        user_agent=_clean([context.user_agent for context in contexts], MAX_USER_AGENT),
        referrer=_clean([context.referrer for context in contexts], MAX_REFERRER),
        country=[context.country.upper() if context.country else None for context in contexts],
    )


def _hide_origin(events: NewEvents) -> None:
    """Leave of the events' origin only the part that people may read."""
    events.ip = list(map(privacy.shown_ip, events.ip))
    events.user_agent = list(map(privacy.shown_agent, events.user_agent))
    events.referrer = list(map(privacy.shown_referrer, events.referrer))


def _clean(values: list[Any], length: int) -> list[str | None]:
    """Make texts fit to store.

    Unprintable characters are removed, then the text is cut. A value that is no text becomes None.
    """
    keep: Callable[[str], bool] = str.isprintable
    cleaned: list[str | None] = []
    for value in values:
        if type(value) is not str or not value:
            cleaned.append(None)
            continue
        text = value if value.isprintable() else "".join(filter(keep, value))
        cleaned.append(text[:length] or None)
    return cleaned
