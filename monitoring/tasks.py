"""Celery tasks of monitoring.

They take nothing or ids, make one call each, and are harmless when run twice. An error in one is noted as a failure
of a chore, and people are told once (`recommender.upkeep.job_failures`).
"""

import logging
from datetime import timedelta
from functools import partial

from celery import shared_task
from django.conf import settings

from monitoring.alerts import outbox, warning_messages
from monitoring.audit import chain_checks
from monitoring.findings import collect_findings
from monitoring.operations import request_revert
from monitoring.policy import enforcement
from recommender import database_outage
from recommender.upkeep import chores, server_warnings

HOUSE_EVERY = timedelta(hours=1)

logger = logging.getLogger(__name__)


@shared_task(name="monitoring.deliver")
def deliver_notifications() -> None:
    """Send the messages that are due. After any failure the next tick tries again."""
    with database_outage.waits(logger, "messages wait"):
        chores.run_often("deliver", {"deliver messages": outbox.deliver})


@shared_task(name="monitoring.gather")
def gather_findings() -> None:
    """Bring findings up to date with the verdicts, and record how reverts ended."""
    with database_outage.waits(logger, "findings wait"):
        parts = {"gather findings": collect_findings.gather, "record reverts": request_revert.close_reverts}
        chores.run_often("gather", parts)


@shared_task(name="monitoring.follow_up")
def follow_up(shard: int) -> None:
    """Look after a shard that the policy froze.

    After any failure the next tick tries again.
    """
    with database_outage.waits(logger, f"shard {shard} waits"):
        parts = {"look after a freeze": partial(enforcement.follow_up, shard)}
        chores.run_often(f"follow_up_{shard}", parts)


@shared_task(name="monitoring.retrain")
def retrain() -> None:
    """Run a trial of challengers, as the settings define it, if one is due."""
    from monitoring.operations import run_trial  # noqa: PLC0415  Polars: 40 MB that the other workers do not need

    with database_outage.waits(logger, "no trial was run"):
        every = timedelta(hours=settings.RETRAIN_EVERY_H)
        parts = {"hold a trial": run_trial.hold_by_settings}
        chores.run("retrain", parts, every=every, retry_after=every, is_due_at_first=False)


@shared_task(name="monitoring.keep_house")
def keep_house() -> None:
    """Delete old messages and findings, if that is due. Decisions are kept forever."""
    parts = {
        "delete old messages": outbox.prune,
        "delete old findings": collect_findings.prune,
        "delete old chain checks": chain_checks.prune,
    }
    with database_outage.waits(logger, "housekeeping of monitoring waits"):
        chores.run("monitoring_housekeeping", parts, every=HOUSE_EVERY)


@shared_task(name="monitoring.warn")
def warn() -> None:
    """Tell people about limits that come near and jobs that fail, once each."""
    with database_outage.waits(logger, "warnings wait"):
        if n_failures := chores.run_often("warn", {"tell people of warnings": _tell_of_warnings}):
            warning_messages.tell_of_failed(n_failures)


def _tell_of_warnings() -> None:
    figures = server_warnings.get_figures()
    warning_messages.tell(
        server_warnings.warn(figures), is_known=lambda name: server_warnings.is_known(name, figures)
    )
