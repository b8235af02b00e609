"""The event log, the items that are ranked, and the sites that both belong to.

The log (`Event`) and its keys are plain SQL and partitioned. `recommender.log.event_log` writes them and
`recommender.log.partitions` keeps the partitions. The model here only reads them.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from recommender.core.vocabulary import Kind, ListValidity


class Site(models.Model):
    """A site whose events, items and keys are apart from those of others.

    There is one, with the number 1. Everything belongs to it by default.
    """

    id = models.SmallIntegerField(primary_key=True)
    name = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """One row of the log.

    The table is partitioned by day of `received_at`. Rows are never updated: the database refuses it. The keys by
    which it is learned are not here (`recommender.log.event_keys`).
    """

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
    site = models.SmallIntegerField(default=1)
    campaign = models.TextField(null=True)
    is_crawler = models.BooleanField(null=True, help_text="Null for an event of version 0.1.0 or before.")
    list_validity = models.SmallIntegerField(
        null=True, choices=[(int(validity), validity.name.title()) for validity in ListValidity]
    )

    class Meta:
        managed = False

    def __str__(self) -> str:
        return f"{self.actor} {self.get_kind_display().lower()} {self.item} at {self.received_at:%F %T}"


class Item(models.Model):
    """An item, as the site and the operators describe it.

    An item without a row is listed too, under its id alone. A row without a description (`is_described`) is of an
    item that the site deleted (`deleted_at`), or that only an operator hid. The operators' columns begin with
    `hidden_`, and only `recommender.intake.hidden_items` writes them. The site's requests never change them.
    """

    id = models.CharField(primary_key=True, max_length=256)
    title = models.CharField(max_length=500, blank=True)
    url = models.CharField(max_length=2000, blank=True)
    categories = ArrayField(models.CharField(max_length=100), default=list, blank=True, size=20)
    published_at = models.DateTimeField(null=True, blank=True, help_text="Not listed before this time.")
    is_hidden = models.BooleanField(default=False, help_text="The site hides it. Never listed while set.")
    is_described = models.BooleanField(default=True, db_default=True, editable=False)
    deleted_at = models.DateTimeField(
        null=True, editable=False, help_text="Not listed until the site sends it again."
    )
    hidden_at = models.DateTimeField(null=True, editable=False, help_text="An operator hides it since then.")
    hidden_by = models.CharField(max_length=200, blank=True, db_default="", editable=False)
    hidden_note = models.CharField(max_length=2000, blank=True, db_default="", editable=False)
    n_show_attempts = models.IntegerField(
        default=0, db_default=0, editable=False, help_text="How often the site tried to show it since `hidden_at`."
    )
    show_attempted_at = models.DateTimeField(null=True, editable=False)
    # The transaction that wrote the row last. With it the publisher reads all rows changed since, without skipping
    # any, just as the learner reads the log. A trigger sets it (migration 0002).
    changed_xid = models.BigIntegerField(default=0, editable=False, db_index=True)
    changed_at = models.DateTimeField(auto_now=True)
    site = models.SmallIntegerField(default=1, db_default=1, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(is_described=False) | models.Q(deleted_at=None), name="deleted_is_not_described"
            ),
        ]
        indexes = [
            models.Index(
                fields=["-hidden_at", "id"],
                condition=models.Q(hidden_at__isnull=False),
                name="item_hidden_by_operator",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.id

    @property
    def is_hidden_by_operator(self) -> bool:
        return self.hidden_at is not None

    @property
    def is_hidden_now(self) -> bool:
        """Return True if the site or an operator hides the item."""
        return self.is_hidden or self.hidden_at is not None
