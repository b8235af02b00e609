"""Regular chores: make partitions ahead, drop old data, thin checkpoints."""

import logging
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings

from recommender import database_clock
from recommender.learning import quality_log
from recommender.learning.checkpoints.thinning import thin_checkpoints, thin_pieces
from recommender.log.partitions import drop_before, ensure_partitions, forget_keys_before, partitions
from recommender.models import EventVerdict, Learner, Step, Watched
from recommender.upkeep import chores, database_limits, log_reach

CHORE = "housekeeping"
EVERY = timedelta(hours=1)

logger = logging.getLogger(__name__)


def keep_house() -> bool:
    """Do the chores if they are due, and return whether they were.

    Partitions are made for the days ahead. Partitions past retention are dropped with their event keys. Where
    ARCHIVE_DIR is set, they are archived first. Steps, verdicts and quality figures past retention are deleted.
    Checkpoints and quality figures are thinned, and the database's size is recorded. A part that fails is recorded,
    and the others run (`recommender.upkeep.chores`).
    """
    parts = {
        "make partitions": ensure_partitions,
        "drop old partitions": drop_old_partitions,
        "delete old rows": delete_old_rows,
        "thin figures": quality_log.thin,
        "thin checkpoints": thin_all_checkpoints,
        "record the size": database_limits.sample_size,
    }
    return chores.run(CHORE, parts, every=EVERY)


def oldest_kept_day() -> date:
    """Return the first day that is kept.

    It is RETENTION_DAYS back, or earlier if a learner still needs it. A learner that was frozen or stopped for longer
    than retention still learns the events that were acknowledged.
    """
    day = (database_clock.now() - timedelta(days=settings.RETENTION_DAYS)).date()
    needed = log_reach.oldest_needed_day()
    if needed is None or needed >= day:
        return day
    logger.warning("the log is kept from %s on, beyond retention, because a learner still needs it", needed)
    return needed


def drop_old_partitions() -> None:
    """Drop partitions past retention, archived before if ARCHIVE_DIR is set."""
    day = oldest_kept_day()
    if settings.ARCHIVE_DIR:
        archive_before(day)
    else:
        drop_before(day)


def delete_old_rows() -> None:
    """Delete steps, verdicts and quality figures past retention."""
    retained = database_clock.now() - timedelta(days=settings.RETENTION_DAYS)
    oldest = min(retained, datetime.combine(oldest_kept_day(), time(), UTC))
    Step.objects.filter(created_at__lt=oldest).delete()
    EventVerdict.objects.filter(created_at__lt=oldest).delete()
    Watched.objects.filter(at__lt=oldest).delete()


def thin_all_checkpoints() -> None:
    """Thin the checkpoints of every shard."""
    for shard in Learner.objects.values_list("shard", flat=True):
        thin_checkpoints(shard)
    thin_pieces()


def archive_before(day: date) -> None:
    """Archive the partitions of the days before `day`, and drop those safely archived.

    The others stay until they are archived. Raises OSError or ArchiveDiffers if one could not be archived.
    """
    from recommender.batch.collect import archive  # noqa: PLC0415  Polars: 40 MB that few learners need

    try:
        archive.leave(day)
    except (OSError, archive.ArchiveDiffers) as error:
        logger.error("the log cannot be archived, partitions without an archive are kept: %s", error)
        raise
    finally:
        kept = min(partitions(), default=day)
        forget_keys_before(min(day, kept))
