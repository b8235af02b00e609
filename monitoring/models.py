"""What the people's side keeps: the decisions (append-only, chained) and the messages about them still to be sent.

    a decision ──reviews.record──> Review ──(its hash stands in the next one)──> Review ──> ...
               └──notify.notify──> Notification, pending ──monitoring.deliver──> sent | failed

`Review` is plain SQL (migration 0001) and written by `monitoring.reviews` only: the database itself refuses to change
or delete a row. Its subject names findings, checkpoints, exclusions and numbers, never the actors behind them: what
an actor may ask to have erased must not stand in a table nothing can be erased from.
"""

from django.conf import settings
from django.db import models


class Review(models.Model):
    """Who decided what, when and why. Row n carries the hash of row n - 1; ids have no gaps."""

    class Action(models.TextChoices):
        FREEZE = "freeze"
        THAW = "thaw"
        REVERT = "revert"
        RELEASE = "release"
        CONFIRM = "confirm"
        ERASE = "erase"
        PROMOTE = "promote"
        PIN = "pin"
        NOTE = "note"
        ALARM = "alarm"
        SETTINGS = "settings"

    id = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(help_text="By the database's clock.")
    by = models.CharField(max_length=200, help_text="An operator, `policy`, `api:KEY NAME` or `shell:ACCOUNT`.")
    # No constraint in the database, so that emptying the accounts' table (tests do) asks nothing of this one; Django
    # itself refuses to delete an account that decided something. It can be deactivated.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    action = models.CharField(max_length=20, choices=Action.choices)
    scope = models.CharField(max_length=200, blank=True, help_text="Which list; empty: all of them.")
    shard = models.SmallIntegerField(null=True)
    subject = models.JSONField(help_text="What it was about, by id and number; no actors.")
    note = models.CharField(max_length=2000, help_text="Why.")
    before_digest = models.CharField(max_length=64, blank=True)
    after_digest = models.CharField(max_length=64, blank=True)
    previous_hash = models.CharField(max_length=64, unique=True)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        managed = False
        db_table = "monitoring_review"
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [
            ("view_console", "Can see the console"),
            ("review", "Can release and confirm what was held"),
            ("operate", "Can freeze, thaw, revert, pin and erase"),
        ]

    def __str__(self):
        return f"{self.id}: {self.action} by {self.by}, {self.at:%F %T}"


class Notification(models.Model):
    """One message to one channel; written in the transaction of what it tells, sent later."""

    class Channel(models.TextChoices):
        WEBHOOK = "webhook"
        EMAIL = "email"

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        FAILED = "failed"

    event_id = models.UUIDField(help_text="The same in every try, and in every channel.")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    kind = models.CharField(max_length=50)
    title = models.CharField(max_length=200)
    is_urgent = models.BooleanField(default=False, help_text="Mailed at once instead of in the next digest.")
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.IntegerField(default=0)
    next_at = models.DateTimeField(help_text="Not tried before.")
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["event_id", "channel"], name="one_notification_a_channel"),
            models.CheckConstraint(
                condition=models.Q(state="sent", sent_at__isnull=False)
                | (~models.Q(state="sent") & models.Q(sent_at=None)),
                name="sent_has_a_time",
            ),
        ]
        indexes = [
            models.Index(
                fields=["channel", "next_at"], condition=models.Q(state="pending"), name="notification_pending"
            ),
            models.Index(fields=["created_at"], name="notification_created_at"),  # for pruning
        ]

    def __str__(self):
        return f"{self.channel} {self.state}: {self.title}"
