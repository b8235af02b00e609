"""Celery tasks of monitoring.

They take nothing or ids, make one call each, and are harmless when run twice.
"""

import logging

from celery import shared_task

from monitoring.alerts import outbox
from monitoring.audit import chain_checks
from monitoring.findings import collect_findings
from monitoring.operations import request_revert
from monitoring.policy import enforcement
from recommender import database_outage

logger = logging.getLogger(__name__)


@shared_task(name="monitoring.deliver")
def deliver_notifications() -> None:
    """Send the messages that are due. After any failure the next tick tries again."""
    with database_outage.waits(logger, "messages wait"):
        outbox.deliver()


@shared_task(name="monitoring.gather")
def gather_findings() -> None:
    """Bring findings up to date with the verdicts, and record how reverts ended."""
    with database_outage.waits(logger, "findings wait"):
        collect_findings.gather()
        request_revert.close_reverts()


@shared_task(name="monitoring.follow_up")
def follow_up(shard: int) -> None:
    """Look after a shard that the policy froze.

    After any failure the next tick tries again.
    """
    with database_outage.waits(logger, f"shard {shard} waits"):
        enforcement.follow_up(shard)


@shared_task(name="monitoring.retrain")
def retrain() -> None:
    """Run a trial of challengers, as the settings define it."""
    from monitoring.operations import run_trial  # noqa: PLC0415  Polars: 40 MB that the other workers do not need

    with database_outage.waits(logger, "no trial was run"):
        run_trial.hold_by_settings()


@shared_task(name="monitoring.keep_house")
def keep_house() -> None:
    """Delete old messages and findings. Decisions are kept forever."""
    outbox.prune()
    collect_findings.prune()
    chain_checks.prune()
