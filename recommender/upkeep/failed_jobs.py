"""List the erasures and reverts that failed and are not made good yet.

A failed erasure counts until a later one of the same actor exists, because someone has a right to it. One that does
not name its actor, as those from before 0.2.0, counts for as long as the log is kept. A failed revert has changed
nothing. It counts until another is asked for, and for REVERTS_SHOWN_FOR at most. A failed preview does not count: its
page shows the error to the person who waits for it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from recommender.models import Erasure, Job, Revert

REVERTS_SHOWN_FOR = timedelta(days=1)
READ_AT_MOST = 100


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that failed.

    kind: erasure or revert. is_named: it can be tried again, because its row still says what to do.
    """

    kind: str
    number: int
    failed_at: datetime
    error: str
    is_named: bool = True


def list_failed_jobs() -> list[FailedJob]:
    """Return the failed jobs, erasures first, the oldest first. Two reads."""
    later = Erasure.objects.filter(actor_hash=OuterRef("actor_hash"), pk__gt=OuterRef("pk"))
    in_the_log = Q(finished_at__gt=Now() - timedelta(days=settings.RETENTION_DAYS))
    erasures = Erasure.objects.filter(~Exists(later), ~Q(actor="") | in_the_log, state=Job.State.FAILED)
    asked_later = Revert.objects.filter(is_preview=False, pk__gt=OuterRef("pk"))
    reverts = Revert.objects.filter(
        ~Exists(asked_later), state=Job.State.FAILED, is_preview=False, finished_at__gt=Now() - REVERTS_SHOWN_FOR
    )
    return [
        *(
            FailedJob("erasure", row.pk, _ended_at(row), row.error, is_named=bool(row.actor))
            for row in erasures.order_by("id")[:READ_AT_MOST]
        ),
        *(FailedJob("revert", row.pk, _ended_at(row), row.error) for row in reverts),
    ]


def _ended_at(row: Job) -> datetime:
    return row.finished_at or row.created_at
