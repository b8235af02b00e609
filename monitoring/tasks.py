"""Celery tasks of the people's side: nothing or ids in, one call each, harmless when run twice."""

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
    """Send the messages that are due. The next tick tries again whatever happens here."""
    with database_outage.waits(logger, "messages wait"):
        outbox.deliver()


@shared_task(name="monitoring.gather")
def gather_findings() -> None:
    """Bring findings up to date with the verdicts, and write down how reverts ended."""
    with database_outage.waits(logger, "findings wait"):
        collect_findings.gather()
        request_revert.close_reverts()


@shared_task(name="monitoring.follow_up")
def follow_up(shard: int) -> None:
    """See after a shard that the policy froze. The next tick tries again whatever happens here."""
    with database_outage.waits(logger, f"shard {shard} waits"):
        enforcement.follow_up(shard)


@shared_task(name="monitoring.retrain")
def retrain() -> None:
    """Hold a trial of challengers, as the settings say."""
    from monitoring.operations import run_trial  # noqa: PLC0415  Polars: 40 MB that the other workers do not need

    with database_outage.waits(logger, "no trial"):
        run_trial.hold_by_settings()


@shared_task(name="monitoring.keep_house")
def keep_house() -> None:
    """Forget old messages and findings. Decisions are kept for ever."""
    outbox.prune()
    collect_findings.prune()
    chain_checks.prune()
