"""What has to be done now and then: partitions made ahead, what is past retention dropped, checkpoints thinned."""

import logging
import time
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import chain

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from recommender import jobs, thinning, watching
from recommender.models import Checkpoint, EventVerdict, Learner, Revert, Step, Watched
from recommender.partitions import drop_before, ensure_partitions, forget_keys_before, partitions
from recommender.thinning import Kept

LOCK_CLASS = 0x6758  # of our advisory locks

logger = logging.getLogger(__name__)

# Past Django, whose delete() would load what it deletes, bytes and all. Children go to the next one kept.
_DROP = """
DELETE FROM recommender_checkpoint AS c WHERE c.id = ANY(%(dropped)s)
       AND NOT EXISTS (SELECT FROM recommender_learner AS l WHERE l.checkpoint_id = c.id)
"""
_ADOPT = """
UPDATE recommender_checkpoint AS c SET parent_id = t.parent
FROM unnest(%(children)s::bigint[], %(parents)s::bigint[]) AS t(child, parent) WHERE c.id = t.child
"""


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
    watching.thin()
    for shard in Learner.objects.values_list("shard", flat=True):
        thin_checkpoints(shard)


def archive_before(day: date) -> None:
    """Archive the partitions of days before a day, and drop those that are safe; the others stay until they are."""
    from recommender.batch import archive  # noqa: PLC0415  Polars: 40 MB that few learners need

    try:
        archive.leave(day)
    except (OSError, archive.ArchiveDiffers) as error:
        logger.error("the log is not dropped: its archive cannot be written: %s", error)
    kept = min(partitions(), default=day)
    forget_keys_before(min(day, kept))


@transaction.atomic
def thin_checkpoints(shard: int, *, now_s: float | None = None) -> int:
    """Keep of a shard's checkpoints what CHECKPOINT_SCHEDULE says, the active one, those pinned, and those that
    an unfinished revert goes back to. Returns how many were dropped. 5 us a checkpoint, whatever its size.

    Does nothing while somebody else is at it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_CLASS, shard])
        is_alone = cursor.fetchone()[0]
    if not is_alone:
        return 0
    rows = list(
        Checkpoint.objects.filter(shard=shard).values_list("id", "parent_id", "created_at", "n_bytes", "is_pinned")
    )
    kept = thinning.choose(
        [Kept(id, at.timestamp(), n_bytes) for id, _, at, n_bytes, _ in rows],
        schedule=settings.CHECKPOINT_SCHEDULE,
        now_s=time.time() if now_s is None else now_s,
        max_bytes=settings.CHECKPOINTS_MAX_BYTES,
        protected={id for id, *_, is_pinned in rows if is_pinned} | _in_use(shard),
    )
    return drop_checkpoints({id: parent for id, parent, *_ in rows}, kept)


def drop_checkpoints(parents: Mapping[int, int | None], kept: Collection[int]) -> int:
    """Drop all of a shard's checkpoints, given with their parents, but those kept and the active one. Children go to
    the nearest ancestor that is kept. Returns how many were dropped."""
    adopted = {
        id: _next_kept(parents, parent, kept)
        for id, parent in parents.items()
        if id in kept and parent is not None and parent not in kept
    }
    dropped = [id for id in parents if id not in kept]
    if not dropped:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_ADOPT, {"children": list(adopted), "parents": list(adopted.values())})
        cursor.execute(_DROP, {"dropped": dropped})
        return int(cursor.rowcount)


def _in_use(shard: int) -> set[int]:
    active = Learner.objects.filter(Q(shard=shard), checkpoint__isnull=False).values_list("checkpoint_id", flat=True)
    asked_for = Revert.objects.filter(state__in=jobs.UNFINISHED).values_list("checkpoints", flat=True)
    return {*active, *chain.from_iterable(asked_for)}


def _next_kept(parents: Mapping[int, int | None], id: int | None, kept: Collection[int]) -> int | None:
    while id is not None and id not in kept:
        id = parents.get(id)
    return id
