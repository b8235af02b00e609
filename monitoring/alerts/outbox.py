"""Telling people: an outbox written with what it tells, emptied later.

    notify() ──same transaction──> Notification, pending, one for each channel that is configured
                                        │  monitoring.deliver, every few seconds
                                        ├─ webhook: one signed POST each (monitoring.alerts.webhook)
                                        └─ email: urgent ones at once, the rest as one digest every DIGEST_EVERY_S

A failure is tried again after 10 s, 20 s, ... up to an hour, each time with jitter, for a day; then it stays as
`failed` for a person to see. Delivery is at least once: the event id is the same in every try, so a receiver can drop
what it knows. One process at a time delivers to a channel (a lock of the session, released when the process dies).

No transaction is open while a receiver is waited for: one that had written would hold up the reader of the event log
(recommender.log.event_log). And as the learner may live in the same process, at most a tenth of its time goes into
waiting.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import orjson
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from monitoring.alerts import webhook
from monitoring.audit import reviews
from monitoring.audit.hash_chain import storable
from monitoring.models import Notification, Review
from recommender import locks
from recommender.database_outage import Pause
from recommender.process_state import clock, remembered

URGENT_KINDS = frozenset({"freeze"})
FIRST_RETRY_S, LONGEST_RETRY_S = 10.0, 3600.0
GIVE_UP_AFTER = timedelta(days=1)
KEPT = timedelta(days=30)
RUN_S = 5.0  # a run starts nothing more after this
MAX_A_RUN = 100
MAX_A_MAIL = 200
_LOCK_CLASS = 0x67737764  # "gswd"

logger = logging.getLogger(__name__)

CHANNELS: tuple[str, ...] = tuple(Notification.Channel.values)

rests = {channel: Pause() for channel in CHANNELS}
for _rest in rests.values():
    remembered(_rest.end)


class Delivered(NamedTuple):
    n_sent: int = 0
    n_failed: int = 0


# -- write --------------------------------------------------------------------------------------------------------


def notify(
    *,
    kind: str,
    title: str,
    facts: Mapping[str, Any] | None = None,
    review: Review | None = None,
    is_urgent: bool | None = None,
) -> uuid.UUID | None:
    """Have people told, if the caller's transaction commits; returns the event's id, None where nobody is to be told.

    `kind`: a word such as freeze, thaw, finding, alarm; of these URGENT_KINDS are mailed at once unless `is_urgent`
    says otherwise. `facts`: a small JSON object, at most 4 kB; it leaves the house, so no actors. Raises ValueError.
    """
    channels = configured_channels()
    if not channels:
        return None
    urgent = kind in URGENT_KINDS if is_urgent is None else is_urgent
    title = " ".join(title.split())[:200]
    now = timezone.now()
    event_id = uuid.uuid4()
    payload = {
        "id": str(event_id),
        "kind": kind,
        "title": title,
        "urgent": urgent,
        "at": now.astimezone(UTC).isoformat(timespec="milliseconds"),
        "facts": storable(facts or {}),
        "review": review and _told_of(review),
    }
    digest_at = now + timedelta(seconds=settings.DIGEST_EVERY_S)
    Notification.objects.bulk_create(
        Notification(
            event_id=event_id,
            channel=channel,
            kind=kind,
            title=title,
            is_urgent=urgent,
            payload=payload,
            next_at=digest_at if channel == Notification.Channel.EMAIL and not urgent else now,
        )
        for channel in channels
    )
    return event_id


def configured_channels() -> list[str]:
    """Where messages go."""
    channels: list[str] = []
    if settings.ALERT_WEBHOOK_URL:
        channels.append(str(Notification.Channel.WEBHOOK))
    if settings.ALERT_EMAILS:
        channels.append(str(Notification.Channel.EMAIL))
    return channels


def _told_of(review: Review) -> dict[str, Any]:
    """Its hash goes along: whoever keeps the message keeps a witness of the chain."""
    fields = ("id", "action", "by", "scope", "shard", "note", "hash")
    return {name: getattr(review, name) for name in fields}


# -- send ---------------------------------------------------------------------------------------------------------


def deliver() -> Delivered:
    """Send what is due, of each configured channel, unless another process is at it."""
    n_sent = n_failed = 0
    for channel in configured_channels():
        if rests[channel].is_on:
            continue
        started = clock()
        with locks.hold(CHANNELS.index(channel), lock_class=_LOCK_CLASS) as is_ours:
            if is_ours:
                done = _deliver_webhook() if channel == Notification.Channel.WEBHOOK else _deliver_email()
                n_sent, n_failed = n_sent + done.n_sent, n_failed + done.n_failed
        rests[channel].after(clock() - started)
    return Delivered(n_sent, n_failed)


def _deliver_webhook() -> Delivered:
    """One by one, oldest first, until the first failure: the next would most likely fail as well."""
    n_sent, ends_at = 0, time.monotonic() + RUN_S
    while n_sent < MAX_A_RUN and time.monotonic() < ends_at:
        rows = _claim(channel=Notification.Channel.WEBHOOK, limit=1)
        if not rows:
            break
        if not _try(rows, partial(_post, rows[0])):
            return Delivered(n_sent, 1)
        n_sent += 1
    return Delivered(n_sent)


def _post(row: Notification) -> None:
    body = orjson.dumps(row.payload, option=orjson.OPT_SORT_KEYS)
    webhook.post(settings.ALERT_WEBHOOK_URL, body, secret=settings.ALERT_WEBHOOK_SECRET, event_id=str(row.event_id))


def _deliver_email() -> Delivered:
    """The urgent ones that are due, in one mail; then, if any other is due, all that wait, in one more."""
    n_sent = 0
    for is_urgent in (True, False):
        rows = _claim(channel=Notification.Channel.EMAIL, limit=MAX_A_MAIL, is_urgent=is_urgent)
        if not rows:
            continue
        if not _try(rows, _mail(rows).send):
            return Delivered(n_sent, len(rows))
        n_sent += len(rows)
    return Delivered(n_sent)


def _claim(*, channel: str, limit: int, is_urgent: bool | None = None) -> list[Notification]:
    """Rows to try now, oldest first, their next try already put off: who dies while sending has failed.

    Of a digest, one row that is due brings along all that were not tried yet.
    """
    now = timezone.now()
    with transaction.atomic():
        pending = Notification.objects.filter(channel=channel, state=Notification.State.PENDING).order_by("id")
        if is_urgent is not None:
            pending = pending.filter(is_urgent=is_urgent)
        due = pending.filter(next_at__lte=now)
        if is_urgent is False and due.exists():
            due = pending.filter(next_at__lte=now) | pending.filter(attempts=0)
        rows = list(due.select_for_update(skip_locked=True)[:limit])
        for row in rows:
            row.attempts += 1
            row.next_at = now + timedelta(seconds=retry_s(row.attempts))
        Notification.objects.bulk_update(rows, ["attempts", "next_at"])
    return rows


def _try(rows: list[Notification], send: Callable[[], object]) -> bool:
    """Send, and write down what came of it."""
    mine = Notification.objects.filter(pk__in=[row.pk for row in rows])
    try:
        send()
    except (webhook.DeliveryFailed, OSError, ValueError) as error:  # smtplib's are OSErrors
        told = " ".join(str(error).split()) or type(error).__name__
        logger.warning("%d notification(s) by %s not delivered: %s", len(rows), rows[0].channel, told)
        mine.update(last_error=told.replace("\0", "")[:500])
        mine.filter(created_at__lte=timezone.now() - GIVE_UP_AFTER).update(state=Notification.State.FAILED)
        return False
    mine.update(state=Notification.State.SENT, sent_at=timezone.now(), last_error="")
    return True


def retry_s(attempts: int) -> float:
    """Seconds to the next try after so many: doubling from FIRST_RETRY_S to LONGEST_RETRY_S, half of it by chance."""
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts - 1, 20)) * random.uniform(0.5, 1.0)  # noqa: S311


def _mail(rows: list[Notification]) -> EmailMessage:
    subject = rows[0].title if len(rows) == 1 else f"{len(rows)} messages, the first: {rows[0].title}"
    urgent = "URGENT: " if rows[0].is_urgent else ""
    head = reviews.head()
    body = "\n".join([*(_line(row) for row in rows), "", f"Audit head {head.id}: {head.hash}", ""])
    return EmailMessage(
        subject=f"[Groundswell] {urgent}{subject}",
        body=body,
        to=settings.ALERT_EMAILS,
        from_email=settings.EMAIL_FROM,
    )


def _line(row: Notification) -> str:
    lines = [f"{row.created_at.astimezone(UTC):%F %T} UTC  {row.kind}: {row.title}"]
    if review := row.payload["review"]:
        lines.append(f"    decision {review['id']}, by {review['by']}: {' '.join(review['note'].split())}")
    lines += [f"    {name}: {_short(value)}" for name, value in sorted(row.payload["facts"].items())]
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return " ".join(text.split())[:300]


# -- keep house ---------------------------------------------------------------------------------------------------


def prune(*, now: datetime | None = None) -> int:
    """Forget what was sent, given up, or waits for a channel long unconfigured, after KEPT. Returns how many."""
    return Notification.objects.filter(created_at__lt=(now or timezone.now()) - KEPT).delete()[0]
