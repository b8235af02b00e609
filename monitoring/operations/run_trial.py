"""Run a trial, then promote the winner, leave it to a person, or notify.

recommender.batch.retrain ──> Trial ──auto──> request_revert.promote ──> Review (promote), twice: request and end
                                    ├──ask───> notification; `manage.py model promote N --note ...`
                                    └──never─> notification
"""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from django.conf import settings
from django.db import transaction

from monitoring.alerts import outbox
from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.operations import request_revert
from recommender.batch import challenger_trial, retrain
from recommender.batch.challenger_trial import Report
from recommender.errors import Conflict
from recommender.models import Trial

Promote = Literal["auto", "ask", "never"]
logger = logging.getLogger(__name__)


def hold(
    *,
    by: By,
    promote: Promote,
    margin: float,
    memory_mb: int,
    paths: list[Path] | None = None,
    since: datetime | None = None,
    wanted: retrain.Wanted = (),
    folder: Path | None = None,
    with_yardstick: bool = True,
    say: Callable[[str, int], None] | None = None,
) -> tuple[Report, Trial]:
    """Run a trial; see the module.

    A promotion may be refused, because a revert is running. Then the winner waits. Raises the errors of
    `retrain.retrain`.
    """
    report, trial = retrain.retrain(
        paths or (),
        since=since,
        wanted=wanted,
        margin=margin,
        memory_mb=memory_mb,
        is_kept=promote != "never",
        folder=folder,
        with_yardstick=with_yardstick,
        say=say,
    )
    if trial.state == Trial.State.WAITING and promote == "auto":
        try:
            request_revert.promote(by=by, note=f"Trial {trial.pk}: {report.reason}.", trial_id=trial.pk)
        except Conflict as error:
            logger.warning("trial %d is not promoted: %s", trial.pk, error)
        trial.refresh_from_db()
    if trial.winner and trial.state != Trial.State.PROMOTED:
        facts: dict[str, Any] = {"trial": trial.pk, "winner": trial.winner, "reason": report.reason}
        with transaction.atomic():
            outbox.notify(
                kind="trial", title=f"{trial.winner} is better than the model (trial {trial.pk}).", facts=facts
            )
    return report, trial


def hold_by_settings() -> None:
    """Run the trial of the schedule.

    If a trial is running already, nothing happens. If there is too little to try, the log reports it, and the next
    run tries again. All other errors are failures of the chore `retrain`.
    """
    try:
        hold(
            by=reviews.POLICY,
            promote=cast(Promote, settings.RETRAIN_PROMOTE),
            margin=settings.RETRAIN_MARGIN,
            memory_mb=settings.RETRAIN_MEMORY_MB,
        )
    except retrain.RetrainUnderWay as error:
        logger.info("%s", error)
    except challenger_trial.TooFewEvents as error:
        logger.warning("no trial: %s", error)
