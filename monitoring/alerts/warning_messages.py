"""Tell people when a warning about the servers begins, lasts and ends.

server_warnings.list_warnings ──tell──> ToldWarning (told already) ──> outbox, log
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction

from monitoring.alerts import outbox
from monitoring.models import ToldWarning
from recommender import database_clock
from recommender.upkeep.server_warnings import ServerWarning

REMIND_AFTER = timedelta(days=1)

logger = logging.getLogger(__name__)


@transaction.atomic
def tell(warnings: Sequence[ServerWarning]) -> int:
    """Tell people about these warnings, and return the number of messages.

    A warning is told when it begins, once a day while it lasts, and again when it became urgent. Its end is told too.
    """
    now = database_clock.now()
    known = {row.name: row for row in ToldWarning.objects.select_for_update()}
    n_told = 0
    for warning in warnings:
        row = known.pop(warning.name, None)
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
    for row in known.values():
        logger.info("over: %s", row.text)
        outbox.notify(kind="warning_over", title=f"Over: {row.text}", facts={"warning": row.name}, is_urgent=False)
        row.delete()
        n_told += 1
    return n_told
