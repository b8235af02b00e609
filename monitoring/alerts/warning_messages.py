"""Tell people when a warning about the servers begins, lasts and ends.

server_warnings.warn ──tell──> ToldWarning (told already, missing since) ──> outbox, log

A value near its threshold crosses it again and again. So a warning is over only when it was missing for OVER_AFTER.
A warning whose figure could not be read is neither seen nor missing.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction

from monitoring.alerts import outbox
from monitoring.models import ToldWarning
from recommender import database_clock
from recommender.upkeep import job_failures
from recommender.upkeep.server_warnings import ServerWarning

REMIND_AFTER = timedelta(days=1)
OVER_AFTER = timedelta(minutes=10)  # twenty readings

logger = logging.getLogger(__name__)


@transaction.atomic
def tell(warnings: Sequence[ServerWarning], is_known: Callable[[str], bool] = lambda _: True) -> int:
    """Tell people about these warnings, and return the number of messages.

    A warning is told when it begins, once a day while it lasts, and again when it became urgent. Its end is told when
    it was missing for OVER_AFTER.

    is_known: returns whether the warning of a name would be among these if it held.
    """
    now = database_clock.now()
    known = {row.name: row for row in ToldWarning.objects.select_for_update()}
    n_told = 0
    for warning in warnings:
        row = known.pop(warning.name, None)
        if row is not None and row.missing_since is not None:
            _mark(row, missing_since=None)
        is_worse = row is not None and warning.is_urgent and not row.is_urgent
        if row is not None and not is_worse and now < row.told_at + REMIND_AFTER:
            continue
        logger.warning("%s", warning.text)
        facts = {"warning": warning.name, "text": warning.text}
        outbox.notify(kind="warning", title=warning.text, facts=facts, is_urgent=warning.is_urgent)
        told = {"text": warning.text[:500], "is_urgent": warning.is_urgent, "told_at": now}
        ToldWarning.objects.update_or_create(
            name=warning.name, defaults=told, create_defaults=told | {"began_at": now}
        )
        n_told += 1
    return n_told + sum(_miss(row, now) for row in known.values() if is_known(row.name))


def tell_of_failed(n_failures: int) -> None:
    """Tell people that warnings cannot be told, when that begins.

    It is a warning too, with the name that `server_warnings` gives it. If even that cannot be noted, the message is
    sent without a note.

    n_failures: failures in a row.
    """
    text = "Warnings about the servers cannot be sent. /health/ready and the console show them, with the cause."
    warning = ServerWarning("failed_warn", text, False)
    with job_failures.contained(logger, "a warning about warnings", partial(_tell_plainly, warning, n_failures)):
        tell([warning], is_known=lambda name: name == warning.name)


def _tell_plainly(warning: ServerWarning, n_failures: int, error: str) -> None:
    if n_failures > 1:
        return
    with job_failures.contained(logger, "a message about warnings", logger.error), transaction.atomic():
        facts = {"warning": warning.name, "text": warning.text, "error": error}
        outbox.notify(kind="warning", title=warning.text, facts=facts)


def _miss(row: ToldWarning, now: datetime) -> bool:
    """Note that a warning is missing, and return whether its end was told."""
    if row.missing_since is None:
        _mark(row, missing_since=now)
        return False
    if now < row.missing_since + OVER_AFTER:
        return False
    logger.info("over: %s", row.text)
    outbox.notify(kind="warning_over", title=f"Over: {row.text}", facts={"warning": row.name}, is_urgent=False)
    row.delete()
    return True


def _mark(row: ToldWarning, *, missing_since: datetime | None) -> None:
    row.missing_since = missing_since
    row.save(update_fields=["missing_since"])
