"""Regular chores: make partitions ahead, drop old data, thin checkpoints."""

import logging
from datetime import date, timedelta

from django.conf import settings

from recommender import database_clock
from recommender.learning import quality_log
from recommender.learning.checkpoint_thinning import thin_checkpoints
from recommender.log.partitions import drop_before, ensure_partitions, forget_keys_before, partitions
from recommender.models import EventVerdict, Learner, Step, Watched

logger = logging.getLogger(__name__)


def keep_house() -> None:
    """Make partitions, drop old data, and thin quality figures and checkpoints.

    Partitions are made for the days ahead. Partitions past retention are dropped with their event keys. Where
    ARCHIVE_DIR is set, they are archived first. Steps, verdicts and quality figures past retention are deleted.
    """
    ensure_partitions()
    oldest = database_clock.now() - timedelta(days=settings.RETENTION_DAYS)
    if settings.ARCHIVE_DIR:
        archive_before(oldest.date())
    else:
        drop_before(oldest.date())
    Step.objects.filter(created_at__lt=oldest).delete()
    EventVerdict.objects.filter(created_at__lt=oldest).delete()
    Watched.objects.filter(at__lt=oldest).delete()
    quality_log.thin()
    for shard in Learner.objects.values_list("shard", flat=True):
        thin_checkpoints(shard)


def archive_before(day: date) -> None:
    """Archive the partitions of the days before `day`, and drop those safely archived.

    The others stay until they are archived.
    """
    from recommender.batch.collect import archive  # noqa: PLC0415  Polars: 40 MB that few learners need

    try:
        archive.leave(day)
    except (OSError, archive.ArchiveDiffers) as error:
        logger.error("the log cannot be archived, partitions without an archive are kept: %s", error)
    kept = min(partitions(), default=day)
    forget_keys_before(min(day, kept))
