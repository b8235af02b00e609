"""What the people's side keeps: findings, the decisions (append-only, chained), the messages about them.

    a decision ──reviews.record──> Review ──(its hash stands in the next one)──> Review ──> ...
               └──outbox.notify──> Notification, pending ──monitoring.deliver──> sent | failed

    verdicts ──collect_findings.gather──> Finding: FindingEvent by log position, FindingItem

`Review` is plain SQL (migration 0001) and written by `monitoring.audit.reviews` only: the database itself refuses to
change or delete a row. Its subject names findings, checkpoints, exclusions and numbers, never the actors behind them:
what an actor may ask to have erased must not stand in a table nothing can be erased from. A finding has no actors
either: it has positions in the log, and who acted there is looked up when somebody asks.
"""

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from monitoring.text_search import Words


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
        HIDE = "hide"
        NOTE = "note"
        ALARM = "alarm"
        SETTINGS = "settings"
        UNDO = "undo"

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

    def __str__(self) -> str:
        return f"{self.id}: {self.action} by {self.by}, {self.at:%F %T}"


class ChainCheck(models.Model):
    """The chain, or what was new of it, compared from end to end. Written by `monitoring.audit.chain_checks`."""

    at = models.DateTimeField(auto_now_add=True)
    by = models.CharField(max_length=200)
    after_id = models.BigIntegerField(help_text="Rows up to here were taken to be as an earlier check found them.")
    head_id = models.BigIntegerField(help_text="The last row looked at, and its hash.")
    head_hash = models.CharField(max_length=64)
    n_rows = models.BigIntegerField(help_text="Looked at.")
    n_problems = models.BigIntegerField()
    problems = models.JSONField(default=list, help_text="The first of them: [row, what is wrong].")
    took_ms = models.FloatField()

    class Meta:
        ordering = ["-id"]
        default_permissions = ()

    def __str__(self) -> str:
        found = f"{self.n_problems} problems" if self.n_problems else "intact"
        return f"rows {self.after_id + 1} to {self.head_id}: {found}"


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

    def __str__(self) -> str:
        return f"{self.channel} {self.state}: {self.title}"


class Finding(models.Model):
    """What a person must look at: a group of suspicious events. Written by `monitoring.findings.collect_findings`,
    decided on by `monitoring.operations`."""

    class Kind(models.TextChoices):
        CAMPAIGN = "campaign", "a group of actors gave itself away"
        ITEM_WINDOW = "item_window", "an item rose in a way that is being looked at"
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
    item = models.TextField(blank=True, help_text="The item most of its events are on.")
    shard = models.SmallIntegerField(null=True, help_text="Null: several.")
    first_ms = models.BigIntegerField(help_text="Received from, ms since 1970 ...")
    last_ms = models.BigIntegerField(help_text="... to.")
    n_events = models.IntegerField(default=0)
    n_actors = models.IntegerField(default=0, help_text="Different ones, among the newest of its events.")
    n_units = models.IntegerField(default=0, help_text="Different pairs of actor and item, among the same.")
    n_held = models.IntegerField(default=0, help_text="Events that wait now.")
    n_quarantined = models.IntegerField(default=0, help_text="Events that are out now.")
    n_released_since = models.IntegerField(default=0, help_text="Events that count after all.")
    reasons = models.IntegerField(
        default=0, help_text="All bits of recommender.core.vocabulary.Reason in its events."
    )
    exposure = models.FloatField(
        default=0.0, help_text="What its acts would weigh now, as those of new actors, in scores of the 10th place."
    )
    is_stale = models.BooleanField(default=True, help_text="Its figures are to be taken again.")
    is_told = models.BooleanField(default=False, help_text="People were notified.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
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
    """An item of a finding; with several, actors have been together on all of them."""

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
    """An event of a finding, by its place in the log: in no other finding, and without its actor."""

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
    """How far a shard's verdicts are gathered; moved in the transaction of what was gathered."""

    shard = models.SmallIntegerField(primary_key=True)
    verdict_id = models.BigIntegerField(default=0, help_text="EventVerdict rows up to here are seen.")
    step = models.BigIntegerField(default=0, help_text="Revisions up to this step are seen.")
    n_reverts = models.IntegerField(default=0, help_text="The learner's, when it was last looked at.")
    n_automated = models.BigIntegerField(default=0, help_text="Verdicts on declared crawlers: no finding, a count.")
    n_unjudged = models.BigIntegerField(default=0, help_text="Verdicts without a suspicion: no finding either.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"shard {self.shard} gathered to verdict {self.verdict_id}"


class AskedRevert(models.Model):
    """Who asked for a revert, until the review that says how it ended is written."""

    revert = models.OneToOneField("recommender.Revert", on_delete=models.CASCADE, primary_key=True, related_name="+")
    by = models.CharField(max_length=200)
    note = models.CharField(max_length=2000)
    before_digest = models.CharField(max_length=64, blank=True)
    closed_in = models.BigIntegerField(null=True, help_text="The closing review. Null: not written yet.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"revert {self.revert_id} asked for by {self.by}"


class AutoFreeze(models.Model):
    """A freeze of one shard that no person decided: what it may cost, how it ended, what is proposed. Written by
    `monitoring.policy.enforcement`."""

    class Ended(models.TextChoices):
        POLICY = "policy"
        PERSON = "person"

    shard = models.SmallIntegerField()
    frozen_at = models.DateTimeField(help_text="As in the learner's row: another time there is another freeze.")
    until = models.DateTimeField(help_text="Ends by itself then, if it may.")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=10, choices=Ended.choices, blank=True)
    step = models.BigIntegerField(help_text="The last one learned.")
    n_reverts = models.IntegerField(help_text="Of the learner, then.")
    changed_ms = models.BigIntegerField(help_text="Stream time up to which all was well, as estimated.")
    reason = models.CharField(max_length=2000)
    checkpoint_id = models.BigIntegerField(null=True, help_text="Proposed to go back to.")
    suspects = models.JSONField(null=True, help_text="Proposed to leave out: an exclusion's rule, keys only.")
    n_suspects = models.IntegerField(default=0)
    n_suspected = models.IntegerField(default=0, help_text="Events since the checkpoint that are theirs.")
    n_since = models.IntegerField(default=0, help_text="Events since the checkpoint.")
    revert_id = models.BigIntegerField(null=True, help_text="Asked for by itself.")

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
