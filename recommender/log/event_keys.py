"""The keys of an event: hashes of its ids.

The event is learned by them, and told from others.

    NewEvents as sent ──keys_of──> EventKeys ──append──> columns of the log, rows of recommender_event_key

The learner reads these hashes and never the texts. So the texts that people may read can be shortened or left out
(recommender.intake.privacy), and no digest changes. The hashes are those of `core.events.Encoder`, with the secret
of `recommender.ids`.

An event id counts once for an actor, item and kind. The hash that says so (`log_key`) is made without a secret. So a
retry is still recognised after the secret was changed. It contains the hash of the event id alone, which was the
whole key in versions up to 0.1.0 and is still a column of the log. `content` is a hash of the parts that must be the
same in a retry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from recommender import ids
from recommender.core.events import DIRECT, is_declared

Text = TypeVar("Text", str, str | None)
Key = TypeVar("Key")

DEFAULT_SITE = 1

# Part of every stored key, so changing it makes the log forget all events it has seen. Copying a prepared hash takes
# a quarter of the time of making one.
_LOG_KEY = blake2b(digest_size=16, person=b"groundswell:ev2")
_CONTENT = blake2b(digest_size=8, person=b"groundswell:evc")
_NO_CONTENT = 0  # nothing was sent that must be the same


@dataclass(slots=True)
class EventKeys:
    """The keys of events, as lists of equal length.

    actor, item, session, network, agent, referrer: keyed hashes in [0, 2**64), 0 for unknown. `network` has the hash
    of the /16 or /32 in its upper half (`Encoder.network_key`).
    is_crawler: the user agent declares that no person is reading.
    log_key: 16 bytes, None without an event id. content: in [-2**63, 2**63).
    """

    actor: list[int]
    item: list[int]
    session: list[int]
    network: list[int]
    agent: list[int]
    referrer: list[int]
    is_crawler: list[bool]
    log_key: list[bytes | None]
    content: list[int]


def keys_of(
    *,
    event_key: Sequence[bytes | None],
    actor: Sequence[str],
    item: Sequence[str],
    kind: Sequence[int],
    session: Sequence[str | None],
    value: Sequence[float | None],
    recommendation: Sequence[str | None],
    position: Sequence[int | None],
    ip: Sequence[str | None],
    user_agent: Sequence[str | None],
    referrer: Sequence[str | None],
) -> EventKeys:
    """Return the keys of events as they were sent. About 3 us an event."""
    encoder = ids.encoder()
    return EventKeys(
        actor=_each(encoder.key, actor),
        item=_each(encoder.key, item),
        session=_each(encoder.context_key, session),
        network=_each(encoder.address_key, ip),
        agent=_each(encoder.context_key, user_agent),
        referrer=_each(partial(encoder.context_key, empty=DIRECT), referrer),
        is_crawler=_each(is_declared, user_agent),
        log_key=[
            None if sent is None else log_key(sent, *of_event)
            for sent, of_event in zip(event_key, zip(actor, item, kind, strict=True), strict=True)
        ],
        content=[
            content_of(*each) if sent is not None else _NO_CONTENT
            for sent, each in zip(event_key, zip(value, position, session, recommendation, strict=True), strict=True)
        ],
    )


def _each(make: Callable[[Text], Key], texts: Sequence[Text]) -> list[Key]:
    """Make the key of each text, and only one of equal texts."""
    made = {text: make(text) for text in set(texts)}
    return [made[text] for text in texts]


def log_key(event_key: bytes, actor: str, item: str, kind: int, site: int = DEFAULT_SITE) -> bytes:
    """Return the hash of all that makes an event the same event, 16 bytes.

    event_key: the 16-byte hash of the client's event id.
    """
    made = _LOG_KEY.copy()
    made.update(b"%b%c%c%c%b\0%b" % (event_key, site >> 8, site & 255, kind, actor.encode(), item.encode()))
    return made.digest()


def content_of(value: float | None, position: int | None, session: str | None, recommendation: str | None) -> int:
    """Return a hash of the parts of an event that a retry may not change.

    They are taken as sent. Times and context are not among them: a client that retries may know less, or later.
    """
    if value is None and position is None and not session and not recommendation:
        return _NO_CONTENT
    made = _CONTENT.copy()
    made.update(f"{value!r}\n{position}\n{session or ''}\n{recommendation or ''}".encode())
    return int.from_bytes(made.digest(), "little", signed=True)
