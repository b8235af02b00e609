"""What has to be done now and then: partitions made ahead, what is past its retention dropped."""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from recommender import log
from recommender.models import Checkpoint, EventVerdict, Learner, Step


def keep_house() -> None:
    """1. Make the partitions of the days ahead. 2. Drop those past retention, with their keys, steps and verdicts.
    3. Thin the checkpoints of every shard."""
    log.ensure_partitions()
    oldest = datetime.now(UTC) - timedelta(days=settings.RETENTION_DAYS)
    log.drop_before(oldest.date())
    Step.objects.filter(created_at__lt=oldest).delete()
    EventVerdict.objects.filter(created_at__lt=oldest).delete()
    for shard in Learner.objects.values_list("shard", flat=True):
        thin_checkpoints(shard)


def thin_checkpoints(shard: int) -> None:
    """Keep the newest CHECKPOINTS_KEPT of a shard, and the active one."""
    of_shard = Checkpoint.objects.filter(shard=shard)
    kept = of_shard.order_by("-id").values_list("id", flat=True)[: settings.CHECKPOINTS_KEPT]
    active = Learner.objects.filter(shard=shard).values("checkpoint")
    of_shard.exclude(id__in=[*kept]).exclude(id__in=active).delete()
