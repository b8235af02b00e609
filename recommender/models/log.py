"""The event log and what is ranked.

The log (`Event`) and its keys are plain SQL, partitioned, written by `recommender.log.event_log` and kept by
`recommender.log.partitions`; the model here is for looking at it.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from recommender.core.vocabulary import Kind


class Event(models.Model):
    """One row of the log. Partitioned by day of `received_at`; never updated (the database refuses)."""

    seq = models.BigIntegerField(primary_key=True)
    received_at = models.DateTimeField()
    occurred_at = models.DateTimeField(null=True)
    actor = models.TextField()
    item = models.TextField()
    kind = models.SmallIntegerField(choices=[(int(kind), kind.name.title()) for kind in Kind])
    session = models.TextField(null=True)
    value = models.FloatField(null=True)
    recommendation = models.TextField(null=True)
    position = models.IntegerField(null=True)
    ip = models.TextField(null=True)
    user_agent = models.TextField(null=True)
    referrer = models.TextField(null=True)
    country = models.TextField(null=True)

    class Meta:
        managed = False

    def __str__(self) -> str:
        return f"{self.actor} {self.get_kind_display().lower()} {self.item} at {self.received_at:%F %T}"


class Item(models.Model):
    """What is ranked. An item the site never described is listed too, under its id alone."""

    id = models.CharField(primary_key=True, max_length=256)
    title = models.CharField(max_length=500, blank=True)
    url = models.CharField(max_length=2000, blank=True)
    categories = ArrayField(models.CharField(max_length=100), default=list, blank=True, size=20)
    published_at = models.DateTimeField(null=True, blank=True, help_text="Not listed before this time.")
    is_hidden = models.BooleanField(default=False, help_text="Never listed while set.")
    # The transaction that wrote the row last: the publisher reads "what changed since" without skipping, as the
    # learner reads the log. Kept by a trigger (migration 0002).
    changed_xid = models.BigIntegerField(default=0, editable=False, db_index=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.title or self.id
