"""Tables for review: findings, decisions (append-only, chained), and messages.

    a decision ──reviews.record──> Review ──(its hash is in the next one)──> Review ──> ...
               └──outbox.notify──> Notification, pending ──monitoring.deliver──> sent | failed

    verdicts ──collect_findings.gather──> Finding: FindingEvent by log position, FindingItem

`Review` is plain SQL (migration 0001), and only `monitoring.audit.reviews` writes it. The database itself refuses to
change or delete a row. The subject of a review names findings, checkpoints, exclusions and numbers, but never the
actors behind them. An actor may ask to be erased, and nothing can be erased from this table. A finding has no actors
either. It has positions in the log, and the actors there are read when someone asks.
"""

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Now

from monitoring.text_search import Words


class Review(models.Model):
    """A decision: who, what, when and why.

    Row n contains the hash of row n - 1, and ids have no gaps.
    """

    class Action(models.TextChoices):
        FREEZE = "freeze"
        THAW = "thaw"
        REVERT = "revert"
        RELEASE = "release"
        CONFIRM = "confirm"
        ERASE = "erase"
        PROMOTE = "promote"
        PIN = "pin"
        HIDE = "hide"
        NOTE = "note"
        ALARM = "alarm"
        SETTINGS = "settings"
        UNDO = "undo"

    id = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(help_text="Time by the database's clock.")
    by = models.CharField(max_length=200, help_text="An account, `policy`, `api:KEY NAME` or `shell:ACCOUNT`.")
    # There is no constraint in the database. So to empty the accounts' table, as tests do, needs nothing of this one.
    # Django itself refuses to delete an account that decided something. The account can be deactivated.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    action = models.CharField(max_length=20, choices=Action.choices)
    scope = models.CharField(max_length=200, blank=True, help_text="The list that it is about. Empty: all lists.")
    shard = models.SmallIntegerField(null=True)
    subject = models.JSONField(help_text="The ids and numbers that it is about. No actors.")
    note = models.CharField(max_length=2000, help_text="The reason.")
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
            ("review", "Can release and confirm held events"),
            ("operate", "Can freeze, thaw, revert, pin and erase"),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.action} by {self.by}, {self.at:%F %T}"


class ChainCheck(models.Model):
    """A check of the whole chain, or of its new rows.

    Written by `monitoring.audit.chain_checks`.
    """

    at = models.DateTimeField(db_default=Now(), editable=False)
    by = models.CharField(max_length=200)
    after_id = models.BigIntegerField(
        help_text="The check trusted rows up to this one, as an earlier check found them."
    )
    head_id = models.BigIntegerField(help_text="The last row checked, with its hash.")
    head_hash = models.CharField(max_length=64)
    n_rows = models.BigIntegerField(help_text="Number of rows checked.")
    n_problems = models.BigIntegerField()
    problems = models.JSONField(default=list, help_text="The first problems, as [row, problem].")
    took_ms = models.FloatField()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()

    def __str__(self) -> str:
        found = f"{self.n_problems} problems" if self.n_problems else "intact"
        return f"rows {self.after_id + 1} to {self.head_id}: {found}"


class Notification(models.Model):
    """A message to one channel.

    It is written in the transaction of the change that it reports, and sent later.
    """

    class Channel(models.TextChoices):
        WEBHOOK = "webhook"
        EMAIL = "email"

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        FAILED = "failed"

    event_id = models.UUIDField(help_text="The same in every try and in every channel.")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    kind = models.CharField(max_length=50)
    title = models.CharField(max_length=200)
    is_urgent = models.BooleanField(default=False, help_text="Mailed at once, not with the next digest.")
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.IntegerField(default=0)
    next_at = models.DateTimeField(help_text="Not tried before this time.")
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
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

    def __str__(self) -> str:
        return f"{self.channel} {self.state}: {self.title}"


class ToldWarning(models.Model):
    """A warning about the servers that people were notified of.

    `monitoring.alerts.warning_messages` writes it.
    """

    name = models.CharField(max_length=50, primary_key=True, help_text="As in recommender.upkeep.server_warnings.")
    text = models.CharField(max_length=500)
    is_urgent = models.BooleanField(default=False)
    began_at = models.DateTimeField(help_text="The time at which it was first seen.")
    told_at = models.DateTimeField(help_text="The time of the last message about it.")
    missing_since = models.DateTimeField(null=True, help_text="The time from which on it was not seen again.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} since {self.began_at:%F %T}"


class Finding(models.Model):
    """A group of suspicious events for a person to review.

    `monitoring.findings.collect_findings` writes it, and `monitoring.operations` decides on it.
    """

    class Kind(models.TextChoices):
        CAMPAIGN = "campaign", "a group of accounts acted together"
        ITEM_WINDOW = "item_window", "an item rose in an unusual way"
        DRIFT = "drift", "the quality of the list fell"

    class State(models.TextChoices):
        OPEN = "open"
        RELEASED = "released"
        CONFIRMED = "confirmed"
        EXPIRED = "expired", "released by itself"

    class Severity(models.IntegerChoices):
        LOW = 1
        MEDIUM = 2
        HIGH = 3

    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    severity = models.SmallIntegerField(choices=Severity.choices, default=Severity.LOW)
    title = models.CharField(max_length=500)
    item = models.TextField(blank=True, help_text="The item that most of its events are on.")
    shard = models.SmallIntegerField(null=True, help_text="Null: several shards.")
    first_ms = models.BigIntegerField(help_text="Time of the first event received, ms since 1970.")
    last_ms = models.BigIntegerField(help_text="Time of the last event received, ms since 1970.")
    n_events = models.IntegerField(default=0)
    n_actors = models.IntegerField(default=0, help_text="Different actors among its newest events.")
    n_units = models.IntegerField(default=0, help_text="Different pairs of actor and item among its newest events.")
    n_held = models.IntegerField(default=0, help_text="Events that are held now.")
    n_quarantined = models.IntegerField(default=0, help_text="Events that are quarantined now.")
    n_released_since = models.IntegerField(default=0, help_text="Events that were let in and count now.")
    reasons = models.IntegerField(
        default=0, help_text="All bits of recommender.core.vocabulary.Reason in its events."
    )
    exposure = models.FloatField(
        default=0.0, help_text="Weight of its acts now, each as a new actor's, divided by the score of place 10."
    )
    is_stale = models.BooleanField(default=True, help_text="Its figures must be counted again.")
    is_told = models.BooleanField(default=False, help_text="People were notified.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    decided_at = models.DateTimeField(null=True)
    words = models.GeneratedField(
        expression=Words("title", "item"), output_field=SearchVectorField(), db_persist=True, editable=False
    )

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(condition=models.Q(last_ms__gte=models.F("first_ms")), name="finding_has_a_span"),
        ]
        indexes = [
            models.Index(fields=["state", "-id"], name="finding_by_state"),
            models.Index(fields=["last_ms"], name="finding_by_time"),
            models.Index(fields=["id"], condition=models.Q(is_stale=True), name="finding_stale"),
            models.Index(
                fields=["-exposure", "-id"], condition=models.Q(state="open"), name="finding_open_by_exposure"
            ),
            GinIndex(fields=["words"], name="finding_words"),
        ]

    def __str__(self) -> str:
        return f"finding {self.pk}: {self.title}"


class FindingItem(models.Model):
    """An item of a finding.

    If there are several, the actors were together on all of them.
    """

    finding = models.ForeignKey(Finding, on_delete=models.CASCADE, related_name="items")
    item = models.TextField()
    first_ms = models.BigIntegerField()
    last_ms = models.BigIntegerField()
    n_events = models.IntegerField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["finding", "item"], name="one_row_an_item")]
        indexes = [models.Index(fields=["item", "last_ms"], name="finding_of_an_item")]

    def __str__(self) -> str:
        return f"{self.item} in finding {self.finding_id}"


class FindingEvent(models.Model):
    """An event of a finding, by its position in the log.

    It is in no other finding, and has no actor here.
    """

    finding = models.ForeignKey(Finding, on_delete=models.CASCADE, related_name="events")
    shard = models.SmallIntegerField()
    xid = models.BigIntegerField()
    seq = models.BigIntegerField()
    received_ms = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["xid", "seq"], name="one_finding_an_event")]

    def __str__(self) -> str:
        return f"event {self.seq} of finding {self.finding_id}"


class FindingCursor(models.Model):
    """The point up to which a shard's verdicts are gathered.

    It moves in the transaction of the gathered verdicts.
    """

    shard = models.SmallIntegerField(primary_key=True)
    verdict_id = models.BigIntegerField(default=0, help_text="EventVerdict rows up to this one are gathered.")
    step = models.BigIntegerField(default=0, help_text="Revisions up to this step are gathered.")
    n_reverts = models.IntegerField(default=0, help_text="The learner's number of reverts at the last run.")
    n_automated = models.BigIntegerField(default=0, help_text="Verdicts on declared crawlers, which make no finding.")
    n_unjudged = models.BigIntegerField(default=0, help_text="Verdicts without a suspicion, which make no finding.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"shard {self.shard} gathered to verdict {self.verdict_id}"


class AskedRevert(models.Model):
    """The account that requested a revert.

    It is needed until the review of the revert's outcome is recorded.
    """

    revert = models.OneToOneField("recommender.Revert", on_delete=models.CASCADE, primary_key=True, related_name="+")
    by = models.CharField(max_length=200)
    note = models.CharField(max_length=2000)
    before_digest = models.CharField(max_length=64, blank=True)
    closed_in = models.BigIntegerField(null=True, help_text="The review of the outcome. Null: not recorded yet.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"revert {self.revert_id} asked for by {self.by}"


class AutoFreeze(models.Model):
    """A freeze of one shard by the policy: its budget, its end, and its proposal.

    Written by `monitoring.policy.enforcement`.
    """

    class Ended(models.TextChoices):
        POLICY = "policy"
        PERSON = "person"

    shard = models.SmallIntegerField()
    frozen_at = models.DateTimeField(help_text="As in the learner's row. Another time there means another freeze.")
    until = models.DateTimeField(help_text="The freeze ends by itself at this time, if it may.")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=10, choices=Ended.choices, blank=True)
    step = models.BigIntegerField(help_text="The last step learned.")
    n_reverts = models.IntegerField(help_text="The learner's number of reverts at that time.")
    changed_ms = models.BigIntegerField(help_text="Estimated stream time until which the list was good.")
    reason = models.CharField(max_length=2000)
    checkpoint_id = models.BigIntegerField(null=True, help_text="The checkpoint that is proposed.")
    suspects = models.JSONField(null=True, help_text="The exclusion rule that is proposed, with keys only.")
    n_suspects = models.IntegerField(default=0)
    n_suspected = models.IntegerField(default=0, help_text="Their events since the checkpoint.")
    n_since = models.IntegerField(default=0, help_text="Events since the checkpoint.")
    revert_id = models.BigIntegerField(null=True, help_text="The revert that the policy requested.")

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["shard"], condition=models.Q(ended_at=None), name="one_automatic_freeze_a_shard"
            )
        ]
        indexes = [models.Index(fields=["shard", "-frozen_at"], name="autofreeze_by_time")]

    def __str__(self) -> str:
        return f"shard {self.shard} frozen at {self.frozen_at:%F %T}"
