"""What has to be done now and then: partitions made ahead, what is past retention dropped, checkpoints thinned."""

import logging
from datetime import UTC, date, datetime, timedelta

from django.conf import settings

from recommender.learning import quality_log
from recommender.learning.checkpoint_thinning import thin_checkpoints
from recommender.log.partitions import drop_before, ensure_partitions, forget_keys_before, partitions
from recommender.models import EventVerdict, Learner, Step, Watched

logger = logging.getLogger(__name__)


def keep_house() -> None:
    """1. Make the partitions of the days ahead. 2. Drop those past retention, archived first where ARCHIVE_DIR says
    so, with their keys, steps, verdicts and figures. 3. Thin the figures, and the checkpoints of every shard."""
    ensure_partitions()
    oldest = datetime.now(UTC) - timedelta(days=settings.RETENTION_DAYS)
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
    """Archive the partitions of days before a day, and drop those that are safe; the others stay until they are."""
    from recommender.batch.collect import archive  # noqa: PLC0415  Polars: 40 MB that few learners need

    try:
        archive.leave(day)
    except (OSError, archive.ArchiveDiffers) as error:
        logger.error("the log is not dropped: its archive cannot be written: %s", error)
    kept = min(partitions(), default=day)
    forget_keys_before(min(day, kept))
