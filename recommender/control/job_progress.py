"""Record the progress of a background job that folds the log again.

    begin ──> progress: told of events as they are folded ──> finish, in the transaction of what the job changes
                                                          └──> fail: nothing is changed, and the row has the cause

Reverts and erasures are such jobs. Each has a row that shows its progress.
"""

from collections.abc import Callable
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from recommender.models import UNFINISHED, Job
from recommender.process_state import clock

FEW_EVENTS = 5000  # few enough to fold while the learner waits
PROGRESS_EVERY_S = 1.0


def begin(job: Job, n_total: int) -> Callable[[int], None]:
    """Mark a job as running, and return a function that counts folded events.

    Call that function with the number of newly folded events. It updates the row at most once in PROGRESS_EVERY_S.

    n_total: the number of events to fold.
    """
    _update(job, state=Job.State.RUNNING, heartbeat_at=Now(), n_done=0, n_total=n_total)
    n_new, due_at = 0, clock() + PROGRESS_EVERY_S

    def say(n_events: int) -> None:
        nonlocal n_new, due_at
        n_new += n_events
        if clock() >= due_at:
            _update(job, n_done=F("n_done") + n_new, heartbeat_at=Now())
            n_new, due_at = 0, clock() + PROGRESS_EVERY_S

    return say


def finish(job: Job, *, outcome: dict[str, Any], **more: Any) -> None:
    """Record that a job is done."""
    ended = {"finished_at": Now(), "heartbeat_at": Now(), "n_done": F("n_total")}
    _update(job, state=Job.State.DONE, outcome=outcome, error="", **ended, **more)


def fail(job: Job, error: str) -> None:
    """Record that a job failed, unless it has ended already."""
    failed = {"state": Job.State.FAILED, "error": error, "finished_at": Now(), "heartbeat_at": Now()}
    type(job)._default_manager.filter(pk=job.pk, state__in=UNFINISHED).update(outcome={}, **failed)


def _update(job: Job, **values: Any) -> None:
    type(job)._default_manager.filter(pk=job.pk).update(**values)
