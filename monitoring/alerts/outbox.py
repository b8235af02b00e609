"""Notify people, by an outbox that is emptied later.

    notify() ──same transaction──> Notification, pending, one for each channel that is configured
                                        │  monitoring.deliver, every few seconds
                                        ├─ webhook: one signed POST each (monitoring.alerts.webhook)
                                        └─ email: urgent ones at once, the rest as one digest every DIGEST_EVERY_S

A failure is tried again after 10 s, 20 s, ... up to an hour, each time with jitter, for a day. Then the message stays
as `failed` for a person to see. Delivery is at least once. The event id is the same in every try, so a receiver can
drop a message that it knows. One process at a time delivers to a channel (a session lock, released when the process
dies). A message that makes the sender itself fail is `failed` at once, and the next ones are sent.

While a process waits for a receiver, it has no transaction open. A transaction that had written would hold up the
reader of the event log (recommender.log.event_log). The learner may be in the same process, so waiting takes at most
a tenth of the process's time.
"""

import logging
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from math import inf
from typing import Any, NamedTuple

import orjson
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import QuerySet

from monitoring.alerts import webhook
from monitoring.audit import reviews
from monitoring.audit.hash_chain import storable
from monitoring.models import Notification, Review
from recommender import database_clock, locks
from recommender.database_outage import Pause
from recommender.process_state import clock, remembered
from recommender.upkeep import job_failures
from recommender.upkeep.job_failures import Parts

URGENT_KINDS = frozenset({"freeze"})
FIRST_RETRY_S, LONGEST_RETRY_S = 10.0, 3600.0
GIVE_UP_AFTER = timedelta(days=1)
KEPT = timedelta(days=30)
RUN_S = 5.0  # a run sends no further message after this
MAX_A_RUN = 100
MAX_A_MAIL = 200
OF_RECEIVER = (webhook.DeliveryFailed, OSError, ValueError)  # the errors of smtplib are OSErrors
_LOCK_CLASS = 0x67737764  # "gswd"

logger = logging.getLogger(__name__)

CHANNELS: tuple[str, ...] = tuple(Notification.Channel.values)

rests = {channel: Pause(longest_s=inf) for channel in CHANNELS}
for _rest in rests.values():
    remembered(_rest.end)


class Delivered(NamedTuple):
    n_sent: int = 0
    n_failed: int = 0


class Sending(Enum):
    """The end of a try to send: it arrived, it is due later, or it is wrong itself."""

    SENT = "sent"
    LATER = "later"
    WRONG = "wrong"


# -- write --------------------------------------------------------------------------------------------------------


def notify(
    *,
    kind: str,
    title: str,
    facts: Mapping[str, Any] | None = None,
    review: Review | None = None,
    is_urgent: bool | None = None,
) -> uuid.UUID | None:
    """Notify people, if the caller's transaction commits.

    Returns the event's id, or None if no channel is configured. Raises ValueError.

    kind: a word such as freeze, thaw, finding or alarm. Those in URGENT_KINDS are mailed at once, unless `is_urgent`
    is set.
    facts: a small JSON object, at most 4 kB. It leaves the site, so it must hold no actors.
    """
    channels = configured_channels()
    if not channels:
        return None
    urgent = kind in URGENT_KINDS if is_urgent is None else is_urgent
    title = " ".join(title.split())[:200]
    now = database_clock.now()
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
    """List the channels that are configured."""
    channels: list[str] = []
    if settings.ALERT_WEBHOOK_URL:
        channels.append(str(Notification.Channel.WEBHOOK))
    if settings.ALERT_EMAILS:
        channels.append(str(Notification.Channel.EMAIL))
    return channels


def _told_of(review: Review) -> dict[str, Any]:
    """Return the facts of a review for a message.

    They include its hash, so anyone who keeps the message keeps a witness of the chain.
    """
    fields = ("id", "action", "by", "scope", "shard", "note", "hash")
    return {name: getattr(review, name) for name in fields}


# -- send ---------------------------------------------------------------------------------------------------------


def deliver() -> Delivered:
    """Send the messages that are due on each channel, unless another process does so.

    Raises PartsFailed when all is done but a channel, or a message, that made the sender itself fail.
    """
    n_sent, n_failed, parts = 0, 0, Parts(logger)
    for channel in configured_channels():
        if rests[channel].is_on:
            continue
        started = clock()
        with parts.run(channel), locks.hold(CHANNELS.index(channel), lock_class=_LOCK_CLASS) as is_ours:
            if is_ours:
                send = _deliver_webhook if channel == Notification.Channel.WEBHOOK else _deliver_email
                done = send(parts)
                n_sent, n_failed = n_sent + done.n_sent, n_failed + done.n_failed
        rests[channel].after(clock() - started)
    parts.end()
    return Delivered(n_sent, n_failed)


def _deliver_webhook(parts: Parts) -> Delivered:
    """Send one by one, oldest first, until the receiver fails once.

    After that the next message would most likely fail as well.
    """
    n_sent = n_wrong = 0
    ends_at = clock() + RUN_S
    while n_sent + n_wrong < MAX_A_RUN and clock() < ends_at:
        rows = _claim(channel=Notification.Channel.WEBHOOK, limit=1)
        if not rows:
            break
        outcome = _try(rows, partial(_post, rows[0]), parts)
        if outcome == Sending.LATER:
            return Delivered(n_sent, n_wrong + 1)
        n_sent += outcome == Sending.SENT
        n_wrong += outcome == Sending.WRONG
    return Delivered(n_sent, n_wrong)


def _post(row: Notification) -> None:
    body = orjson.dumps(row.payload, option=orjson.OPT_SORT_KEYS)
    webhook.post(
        settings.ALERT_WEBHOOK_URL,
        body,
        secret=settings.ALERT_WEBHOOK_SECRET,
        event_id=str(row.event_id),
        t=int(database_clock.unix_s()),
    )


def _deliver_email(parts: Parts) -> Delivered:
    """Send the urgent messages that are due in one mail, and the others in a digest.

    If any other message is due, the digest has all that wait. A message that no line can be written of is not sent.
    """
    n_sent = n_wrong = 0
    for is_urgent in (True, False):
        claimed = _claim(channel=Notification.Channel.EMAIL, limit=MAX_A_MAIL, is_urgent=is_urgent)
        rows = [row for row in claimed if _can_be_written(row, parts)]
        n_wrong += len(claimed) - len(rows)
        if not rows:
            continue
        if _try(rows, partial(_send_mail, rows), parts) != Sending.SENT:
            return Delivered(n_sent, n_wrong + len(rows))
        n_sent += len(rows)
    return Delivered(n_sent, n_wrong)


def _claim(*, channel: str, limit: int, is_urgent: bool | None = None) -> list[Notification]:
    """Take rows to try now, oldest first.

    Their next try is set before they are sent. So if the process dies while it sends, that counts as a failure. In a
    digest, one row that is due brings along all rows that were not tried yet.
    """
    now = database_clock.now()
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


def _try(rows: list[Notification], send: Callable[[], object], parts: Parts) -> Sending:
    """Send messages, and record the outcome.

    A message that is wrong has failed. If several are wrong together, they are tried again, as after a failure of the
    receiver.
    """
    mine = Notification.objects.filter(pk__in=[row.pk for row in rows])
    errors: list[str] = []
    try:
        with job_failures.contained(logger, f"sending by {rows[0].channel}", errors.append, _is_of_receiver):
            send()
    except OF_RECEIVER as error:
        told = " ".join(str(error).split()) or type(error).__name__
        logger.warning("%d notification(s) by %s were not delivered: %s", len(rows), rows[0].channel, told)
        _put_off(mine, told)
        return Sending.LATER
    if errors:
        if len(rows) > 1:
            parts.errors.append(f"a mail of {len(rows)} messages: {errors[0]}")
            _put_off(mine, errors[0])
            return Sending.LATER
        _fail(rows[0], errors[0], parts)
        return Sending.WRONG
    mine.update(state=Notification.State.SENT, sent_at=database_clock.now(), last_error="")
    return Sending.SENT


def _can_be_written(row: Notification, parts: Parts) -> bool:
    """Return whether a line of a mail can be written of a message.

    If not, the message has failed.
    """
    errors: list[str] = []
    with job_failures.contained(logger, f"writing message {row.pk}", errors.append):
        _line(row)
    if errors:
        _fail(row, errors[0], parts)
    return not errors


def _fail(row: Notification, error: str, parts: Parts) -> None:
    parts.errors.append(f"message {row.pk}: {error}")
    Notification.objects.filter(pk=row.pk).update(state=Notification.State.FAILED, last_error=error[:500])


def _put_off(mine: QuerySet[Notification], error: str) -> None:
    """Note why messages were not sent, and give up those that were tried for a day."""
    mine.update(last_error=error.replace("\0", "")[:500])
    mine.filter(created_at__lte=database_clock.now() - GIVE_UP_AFTER).update(state=Notification.State.FAILED)


def _is_of_receiver(error: Exception) -> bool:
    return isinstance(error, OF_RECEIVER) or job_failures.is_transient(error)


def _send_mail(rows: list[Notification]) -> None:
    _mail(rows).send()


def retry_s(attempts: int) -> float:
    """Return the seconds to the next try after so many attempts.

    They double from FIRST_RETRY_S to LONGEST_RETRY_S, and up to half of them is taken off by chance.
    """
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(attempts - 1, 20)) * random.uniform(0.5, 1.0)  # noqa: S311


def _mail(rows: list[Notification]) -> EmailMessage:
    subject = rows[0].title if len(rows) == 1 else f"{len(rows)} messages. The first: {rows[0].title}"
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


# -- pruning ------------------------------------------------------------------------------------------------------


def prune(*, now: datetime | None = None) -> int:
    """Delete messages older than KEPT, whether sent, failed or pending.

    Returns how many.
    """
    return Notification.objects.filter(created_at__lt=(now or database_clock.now()) - KEPT).delete()[0]
