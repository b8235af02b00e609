"""Write events into the log, each once.

    NewEvents + EventKeys ──one statement──> recommender_event_key: the keys that are new
                                             recommender_event: the events with such a key, and those without an id
    an event whose key was known ──> content compared with the first: duplicate, or conflict

The statement waits for other writers of the same key. So of two writers one stores the event, and the other finds it
stored. What the first one stored is read by a second statement, because the first statement cannot see a row that was
committed after it began.

recommender_event_key holds hashes of three kinds, which cannot meet. They are keys of events (`event_keys.log_key`),
hashes of event ids alone (`rollout`), and payments of places (recommender.serving.list_ids). Every statement writes
the ids alone first, then the keys of events, then the payments, and each in the order of the hashes. So two writers
wait for one another instead of deadlocking.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import psycopg
from django.db import IntegrityError

from recommender.core.vocabulary import ListValidity
from recommender.log.append_statements import APPEND_AT, APPEND_MANY, APPEND_ONE
from recommender.log.buckets import bucket_of
from recommender.log.event_keys import EventKeys, keys_of
from recommender.log.origin import on_known_server
from recommender.log.partitions import ensure_partitions
from recommender.log.rollout import id_rule
from recommender.log.statements import bigints, fetch, floats, integers, nullable, texts


@dataclass(slots=True)
class NewEvents:
    """Validated events as lists of equal length, ready to append.

    A column that is not given is empty.

    key: the 16-byte hash of the client's event id, or None if it sent none.
    occurred_at: unix seconds.
    list_validity: a `ListValidity` before payment, or None if no list was named.
    pay_key: 16 bytes, if the event is VALID only as the first with this key. No two events may have the same.
    """

    actor: list[str]
    item: list[str]
    kind: list[int]
    key: list[bytes | None] = field(default_factory=list)
    occurred_at: list[float | None] = field(default_factory=list)
    session: list[str | None] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    recommendation: list[str | None] = field(default_factory=list)
    position: list[int | None] = field(default_factory=list)
    ip: list[str | None] = field(default_factory=list)
    user_agent: list[str | None] = field(default_factory=list)
    referrer: list[str | None] = field(default_factory=list)
    country: list[str | None] = field(default_factory=list)
    campaign: list[str | None] = field(default_factory=list)
    list_validity: list[int | None] = field(default_factory=list)
    pay_key: list[bytes | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.actor)
        for name in _OPTIONAL:
            if not getattr(self, name):
                setattr(self, name, [None] * n)

    def __len__(self) -> int:
        return len(self.actor)

    def keys(self) -> EventKeys:
        """Return the keys of the events, whose texts must be as they were sent."""
        return keys_of(
            event_key=self.key,
            actor=self.actor,
            item=self.item,
            kind=self.kind,
            session=self.session,
            value=self.value,
            recommendation=self.recommendation,
            position=self.position,
            ip=self.ip,
            user_agent=self.user_agent,
            referrer=self.referrer,
        )


_OPTIONAL = tuple(each.name for each in fields(NewEvents))[3:]


@dataclass(frozen=True, slots=True)
class Stored:
    """The outcome of an append.

    is_written: for each event. The others are duplicates or conflicts.
    conflicts: places of the events whose key was known with another content.
    list_validity: for each written event after payment, None for the others.
    """

    is_written: list[bool]
    conflicts: list[int]
    list_validity: list[int | None]

    @property
    def n_written(self) -> int:
        return sum(self.is_written)


_SIGN = 1 << 63  # of a key that PostgreSQL sees as negative
_CONTENTS = """
SELECT coalesce(array_agg(key), '{}'), coalesce(array_agg(content), '{}') FROM recommender_event_key
WHERE key = ANY(%b::bytea[])
"""


def append(events: NewEvents) -> int:
    """Write the events whose key is new, in one transaction, and return their number.

    Their texts must be as they were sent. See `store`.
    """
    return store(events, events.keys()).n_written


def append_at(events: NewEvents, received_at: Sequence[float]) -> None:
    """Write events as if they had come at other times, for demonstrations.

    Use it only on a demonstration's own database. The partitions must exist. Event ids are ignored.

    received_at: unix seconds, ascending.
    """
    nothing: list[bytes | None] = [None] * len(events)
    columns = _columns(replace(events, key=nothing), events.keys(), range(len(events)))
    fetch(APPEND_AT, [floats(received_at), *columns], packs=True)


def store(events: NewEvents, keys: EventKeys) -> Stored:
    """Write the events whose key is new, in one transaction.

    They are committed on return, unless the caller has a transaction open. Of several events with one key the first
    is written. About 20 us an event. Raises ServerNotKnown.

    keys: made of the texts as they were sent.
    """
    n = len(events)
    sent = _firsts(keys.log_key)
    fresh, paid = _write(events, keys, sent)
    is_written = [False] * n
    for place in sent:
        is_written[place] = fresh is None or (key := keys.log_key[place]) is None or key in fresh
    validity: list[int | None] = [None] * n
    for place, found in enumerate(events.list_validity):
        if found is not None and is_written[place]:
            is_spent = (pay_key := events.pay_key[place]) is not None and pay_key not in paid
            validity[place] = int(ListValidity.SPENT) if is_spent else found
    return Stored(is_written, _conflicts(keys, is_written), validity)


def _firsts(log_key: Sequence[bytes | None]) -> Sequence[int]:
    """Return the places of events without a key, and of the first event with each key."""
    known = [key for key in log_key if key is not None]
    if len(set(known)) == len(known):
        return range(len(log_key))
    first = {key: place for place, key in reversed(list(enumerate(log_key)))}
    return [place for place, key in enumerate(log_key) if key is None or first[key] == place]


def _write(events: NewEvents, keys: EventKeys, sent: Sequence[int]) -> tuple[set[bytes] | None, set[bytes]]:
    """Return the keys that are new, None if all are, and the payments that are new."""
    parameters: list[Any] | dict[str, Any]
    is_one = len(sent) == 1
    if is_one:
        (place,) = sent
        has_id, pays = keys.log_key[place] is not None, events.pay_key[place] is not None
        query, parameters = APPEND_ONE[id_rule(), has_id, pays], _row(events, keys, place)
    else:
        query = APPEND_MANY[id_rule(), any(events.pay_key)]
        parameters = _columns(events, keys, sent)

    def write() -> tuple[Any, ...]:
        return fetch(query, parameters, packs=not is_one)

    try:
        fresh, paid = on_known_server(write)
    except IntegrityError as error:
        if not isinstance(error.__cause__, psycopg.errors.CheckViolation):
            raise
        ensure_partitions()  # today had no partition, because housekeeping did not run for a week
        fresh, paid = on_known_server(write)
    return None if fresh is None else set(fresh), set(paid or ())


def _conflicts(keys: EventKeys, is_written: Sequence[bool]) -> list[int]:
    """Return the places of events whose key is stored with another content.

    A key without a content is an older event's, which may have had any. One that is gone by now was erased.
    """
    if all(is_written):
        return []
    others = [place for place, written in enumerate(is_written) if not written]
    known, contents = fetch(_CONTENTS, [[keys.log_key[place] for place in others]])
    stored = dict(zip(known, contents, strict=True))
    return [
        place
        for place in others
        if (content := stored.get(keys.log_key[place])) is not None and content != keys.content[place]
    ]


def _columns(events: NewEvents, keys: EventKeys, places: Sequence[int]) -> list[Any]:
    """Return the parameters of a statement that writes many events."""
    is_whole = len(places) == len(events)

    def of(column: list[Any]) -> list[Any]:
        return column if is_whole else [column[place] for place in places]

    return [
        nullable(of(events.key)),
        integers([bucket_of(key) for key in of(keys.actor)]),
        integers(of(events.kind)),
        texts(of(events.actor)),
        texts(of(events.item)),
        floats(of(events.occurred_at)),
        texts(of(events.session)),
        floats(of(events.value)),
        texts(of(events.recommendation)),
        integers(of(events.position)),
        texts(of(events.ip)),
        texts(of(events.user_agent)),
        texts(of(events.referrer)),
        texts(of(events.country)),
        texts(of(events.campaign)),
        integers(of(keys.is_crawler)),
        integers(of(events.list_validity)),
        bigints(of(keys.actor)),
        bigints(of(keys.item)),
        bigints(of(keys.session)),
        bigints(of(keys.network)),
        bigints(of(keys.agent)),
        bigints(of(keys.referrer)),
        nullable(of(keys.log_key)),
        nullable(of(keys.content)),
        nullable(of(events.pay_key)),
    ]


def _row(events: NewEvents, keys: EventKeys, place: int) -> dict[str, Any]:
    """Return the parameters of a statement that writes one event."""
    return {
        "event_key": events.key[place],
        "bucket": bucket_of(keys.actor[place]),
        "kind": events.kind[place],
        "actor": events.actor[place],
        "item": events.item[place],
        "occurred_at": events.occurred_at[place],
        "session": events.session[place],
        "value": events.value[place],
        "recommendation": events.recommendation[place],
        "position": events.position[place],
        "ip": events.ip[place],
        "user_agent": events.user_agent[place],
        "referrer": events.referrer[place],
        "country": events.country[place],
        "campaign": events.campaign[place],
        "is_crawler": int(keys.is_crawler[place]),
        "list_validity": events.list_validity[place],
        "actor_key": _signed(keys.actor[place]),
        "item_key": _signed(keys.item[place]),
        "session_key": _signed(keys.session[place]),
        "network": _signed(keys.network[place]),
        "agent": _signed(keys.agent[place]),
        "referrer_key": _signed(keys.referrer[place]),
        "log_key": keys.log_key[place],
        "content": keys.content[place],
        "pay_key": events.pay_key[place],
    }


def _signed(key: int) -> int:
    return (key ^ _SIGN) - _SIGN
