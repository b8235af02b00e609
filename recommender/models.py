"""What PostgreSQL keeps. The event log is the source of truth; everything else here is derived from it or about it.

The log itself (`Event`) and its keys are plain SQL, partitioned, written and read by `recommender.log` only; the
model here is for looking at it. The other tables are ordinary.
"""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q

from recommender import history


class Kind(models.IntegerChoices):
    """What an actor did with an item; stored in the log and known to the core by these numbers."""

    VIEW = 1
    CLICK = 2
    LIKE = 3
    SHARE = 4
    CART = 5
    PURCHASE = 6
    RATING = 7
    EXPOSURE = 8
    UNDO = 9


class Event(models.Model):
    """One row of the log. Partitioned by day of `received_at`; never updated (the database refuses)."""

    seq = models.BigIntegerField(primary_key=True)
    received_at = models.DateTimeField()
    occurred_at = models.DateTimeField(null=True)
    actor = models.TextField()
    item = models.TextField()
    kind = models.SmallIntegerField(choices=Kind.choices)
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

    def __str__(self):
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

    def __str__(self):
        return self.title or self.id


class Exclusion(models.Model):
    """A rule for events that a history leaves out; see recommender.core.decisions. It names keys, never ids."""

    rule = models.JSONField(help_text="As recommender.core.decisions.Exclusion.state() gives it.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return f"exclusion {self.pk}"


class Checkpoint(models.Model):
    """Immutable bytes of a Pipeline at one position of the log, and the history they are the fold of."""

    shard = models.SmallIntegerField()
    step = models.BigIntegerField(help_text="Number of the last step folded in.")
    xid = models.BigIntegerField()
    seq = models.BigIntegerField()
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="+")
    digest = models.CharField(max_length=64)
    n_bytes = models.BigIntegerField()
    data = models.BinaryField()
    recipe = models.JSONField(default=history.beginning, help_text="See recommender.history.")
    is_pinned = models.BooleanField(default=False, help_text="Never thinned out.")
    stream_ms = models.BigIntegerField(default=0, help_text="Stream time, ms since 1970.")
    n_events = models.BigIntegerField(default=0, help_text="Events folded in.")
    n_predicted = models.BigIntegerField(default=0, help_text="Predictions of the last hours; hr20 is of these.")
    hr20 = models.FloatField(default=0.0, help_text="Share of them in the first 20 places.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["shard", "step", "digest"], name="one_checkpoint_a_state")]
        indexes = [models.Index(fields=["shard", "-created_at"], name="checkpoint_by_age")]

    def __str__(self):
        return f"checkpoint {self.pk} at step {self.step}"


class Learner(models.Model):
    """One row a shard: where learning stands, and the lock (every step is a compare-and-set on this row)."""

    class State(models.TextChoices):
        LEARNING = "learning"
        FROZEN = "frozen"

    shard = models.SmallIntegerField(primary_key=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.LEARNING)
    step = models.BigIntegerField(default=0, help_text="Number of the last committed step.")
    xid = models.BigIntegerField(default=0, help_text="Log position: the last event learned.")
    seq = models.BigIntegerField(default=0)
    n_events = models.BigIntegerField(default=0, help_text="Events learned so far.")
    n_held = models.BigIntegerField(default=0, help_text="Events held at first, so far.")
    n_quarantined = models.BigIntegerField(default=0, help_text="Events quarantined at once, so far.")
    n_released = models.BigIntegerField(default=0, help_text="Held events released by themselves, so far.")
    n_retracted = models.BigIntegerField(default=0, help_text="Events taken back out, so far.")
    n_unjudged = models.BigIntegerField(default=0, help_text="Events the screen was too cold or too broken to judge.")
    stream_ms = models.BigIntegerField(default=0, help_text="Stream time, ms since 1970.")
    checkpoint = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="+")
    recipe = models.JSONField(default=history.beginning, help_text="See recommender.history.")
    n_reverts = models.IntegerField(default=0, help_text="How often its history was changed.")
    frozen_at = models.DateTimeField(null=True)
    stepped_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(seq__gte=0, xid__gte=0, step__gte=0), name="not_negative")]

    def __str__(self):
        return f"learner {self.shard}: {self.state} at step {self.step}"


class Step(models.Model):
    """One mini-batch as it was taken live: every refold takes the same ranges (from exclusive, to inclusive)."""

    class Alarm(models.IntegerChoices):
        NONE = 0
        ALERT = 1
        STOP = 2

    shard = models.SmallIntegerField()
    number = models.BigIntegerField()
    from_xid = models.BigIntegerField()
    from_seq = models.BigIntegerField()
    to_xid = models.BigIntegerField()
    to_seq = models.BigIntegerField()
    first_ordinal = models.BigIntegerField(
        null=True, help_text="Number in the fold of the step's first event. Null: reverted, in no history now."
    )
    n_events = models.IntegerField()
    excluded = ArrayField(
        models.IntegerField(), null=True, help_text="Of its events, by place, those the learner's history leaves out."
    )
    n_admitted = models.IntegerField()
    n_held = models.IntegerField(default=0)
    n_quarantined = models.IntegerField(default=0)
    n_released = models.IntegerField(default=0, help_text="Held earlier, and learned in this step.")
    n_retracted = models.IntegerField(default=0, help_text="Learned earlier, and taken back out.")
    n_unjudged = models.IntegerField(default=0)
    n_predicted = models.IntegerField(help_text="Events whose item was predicted before it was learned.")
    n_hits = models.IntegerField(help_text="Of these, found in the first 20 places.")
    reciprocal_ranks = models.FloatField(help_text="Sum of 1/rank over the hits.")
    n_trusted = models.IntegerField(default=0, help_text="Of the predictions, those for actors of earned trust.")
    n_trusted_hits = models.IntegerField(default=0)
    n_canary = models.IntegerField(default=0, help_text="Of the predictions, those for the secret panel.")
    n_canary_hits = models.IntegerField(default=0)
    alarm = models.SmallIntegerField(choices=Alarm.choices, default=Alarm.NONE, help_text="Raised in this step.")
    changed_ms = models.BigIntegerField(null=True, help_text="Of an alarm: stream time up to which all was well.")
    stream_ms = models.BigIntegerField()
    duration_ms = models.FloatField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["shard", "number"], name="one_step_a_number")]
        indexes = [
            BrinIndex(fields=["created_at"], name="step_created_at"),  # for pruning
            models.Index(fields=["shard", "first_ordinal"], name="step_of_an_event"),
            models.Index(fields=["shard", "to_xid", "to_seq"], name="step_at_a_position"),
            models.Index(fields=["shard", "stream_ms"], condition=Q(alarm__gt=0), name="step_with_an_alarm"),
        ]

    def __str__(self):
        return f"step {self.number} of shard {self.shard}"


class Watched(models.Model):
    """What `recommender.core.watch` said after a step; units and ranges are told there. Thinned with age."""

    shard = models.SmallIntegerField()
    step = models.BigIntegerField()
    stream_ms = models.BigIntegerField(help_text="Stream time, ms since 1970.")
    at = models.DateTimeField(auto_now_add=True)
    lag_s = models.FloatField(help_text="Our clock less stream time.")
    hit_rate = models.FloatField()
    trusted_hit_rate = models.FloatField()
    canary_hit_rate = models.FloatField()
    steady_hit_rate = models.FloatField()
    n_predictions = models.BigIntegerField()
    n_trusted = models.BigIntegerField()
    n_canary = models.BigIntegerField()
    drift = models.FloatField(help_text="The CUSUM, in nats.")
    level = models.SmallIntegerField(choices=Step.Alarm.choices)
    top_share = models.FloatField()
    gini = models.FloatField()
    low_trust_share = models.FloatField()
    least_actors = models.BigIntegerField()
    least_trust = models.FloatField()
    held_share = models.FloatField()
    quarantine_share = models.FloatField()
    pressure = models.FloatField()

    class Meta:
        verbose_name_plural = "watched"
        constraints = [models.UniqueConstraint(fields=["shard", "step"], name="watched_once_a_step")]
        indexes = [models.Index(fields=["shard", "stream_ms"], name="watched_by_time")]

    def __str__(self):
        return f"shard {self.shard} after step {self.step}"


class EventVerdict(models.Model):
    """An event that was held, quarantined, or taken back out; see recommender.verdicts."""

    class Verdict(models.IntegerChoices):
        ADMIT = 0
        HOLD = 1
        QUARANTINE = 2

    shard = models.SmallIntegerField()
    ordinal = models.BigIntegerField(help_text="Its number in the fold.")
    step = models.BigIntegerField(help_text="The step that took it.")
    xid = models.BigIntegerField()
    seq = models.BigIntegerField()
    verdict = models.SmallIntegerField(choices=Verdict.choices)
    was_held = models.BooleanField(default=False)
    score = models.FloatField(default=0.0)
    reasons = models.IntegerField(help_text="Bits of recommender.core.screen.Reason.")
    revised_in = models.BigIntegerField(null=True, help_text="The step that spoke the last word.")
    evidence = models.BinaryField(null=True, help_text="A byte a feature: see recommender.core.evidence.")
    p_values = ArrayField(
        models.FloatField(null=True),
        null=True,
        help_text="Of the forests of actor, item and network, where they were asked.",
    )
    alpha = models.FloatField(null=True, help_text="The p-value at which a forest flagged.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["shard", "ordinal"], name="one_verdict_an_event")]
        indexes = [
            BrinIndex(fields=["created_at"], name="verdict_created_at"),  # for pruning
            models.Index(fields=["seq"], name="verdict_of_an_event"),
            models.Index(
                fields=["shard", "revised_in"], condition=Q(revised_in__isnull=False), name="verdict_revised"
            ),
        ]

    def __str__(self):
        return f"event {self.ordinal}: {self.get_verdict_display().lower()}"


class Decision(models.Model):
    """What people decided about events of one shard: an entry of the history, in front of the step that took it."""

    class Ruling(models.IntegerChoices):
        RELEASE = 1
        CONFIRM = 2
        WITHHOLD = 3

    shard = models.SmallIntegerField()
    ruling = models.SmallIntegerField(choices=Ruling.choices)
    xid = ArrayField(models.BigIntegerField(), help_text="Where the events stand in the log, in its order.")
    seq = ArrayField(models.BigIntegerField())
    since_ms = models.BigIntegerField(help_text="None of them was received before.")
    taken_in = models.BigIntegerField(null=True, help_text="Number of the step it took effect in. Null: it waits.")
    before = ArrayField(
        models.SmallIntegerField(),
        null=True,
        help_text="The verdict on each event until then; -1: it was in no history.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["shard", "taken_in"], name="decision_of_a_step"),
            models.Index(fields=["shard", "id"], name="decision_waiting", condition=Q(taken_in=None)),
        ]

    def __str__(self):
        return f"{self.get_ruling_display().lower()} {len(self.seq)} events of shard {self.shard}"


class FrozenScope(models.Model):
    """A board that stands still while the rest goes on."""

    scope = models.CharField(max_length=150, primary_key=True, help_text='"category:sports" or "country:DE".')
    board = models.BinaryField(help_text="As published when it was frozen.")
    as_of = models.FloatField(help_text="Unix time up to which events are in it.")
    frozen_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return f"{self.scope} frozen at {self.frozen_at:%F %T}"


class Job(models.Model):
    """Something that folds the log again in the background (recommender.jobs); subclasses say what `outcome` is."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    n_done = models.BigIntegerField(default=0, help_text="Events folded so far.")
    n_total = models.BigIntegerField(default=0, help_text="Events to fold, as far as known.")
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(null=True, help_text="Last sign of life of the process that runs it.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class Revert(Job):
    """One way back, asked for, under way or done; or its preview, which changes nothing."""

    class Mode(models.TextChoices):
        DROP = "drop", "forget everything since"
        REPLAY = "replay", "learn everything since again"
        EXCLUDE = "exclude", "the same without what is excluded"

    mode = models.CharField(max_length=10, choices=Mode.choices)
    is_preview = models.BooleanField(default=False)
    checkpoints = ArrayField(models.BigIntegerField(), help_text="One a shard, in the order of shards.")
    exclusion = models.ForeignKey(Exclusion, null=True, on_delete=models.PROTECT, related_name="+")
    outcome = models.JSONField(default=dict, help_text="What it changed, or would: events, quality, boards.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(state__in=["queued", "running"], is_preview=False),
                name="one_revert_at_a_time",
            )
        ]

    def __str__(self):
        return f"{'preview of a ' if self.is_preview else ''}revert {self.pk} ({self.mode}): {self.state}"


class Trial(models.Model):
    """Challengers held against the model that learns, once (recommender.batch); and what became of the winner."""

    class State(models.TextChoices):
        STAYS = "stays", "no challenger was better"
        TOLD = "told", "one was better, and nothing was kept of it"
        WAITING = "waiting", "one was better, and waits to be promoted"
        PROMOTED = "promoted", "one was better, and was promoted"
        SUPERSEDED = "superseded", "a later trial found another"

    state = models.CharField(max_length=10, choices=State.choices)
    winner = models.CharField(max_length=200, blank=True, help_text="Name of the challenger; empty: none.")
    report = models.JSONField(help_text="As recommender.batch.trial.Report.as_json() gives it.")
    config = models.JSONField(default=dict, help_text="The winner's settings, without their secret.")
    checkpoints = ArrayField(
        models.BigIntegerField(), default=list, help_text="The winner's states, one a shard, in the order of shards."
    )
    revert = models.OneToOneField(
        Revert, null=True, on_delete=models.SET_NULL, related_name="+", help_text="That switches to them."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(models.Value(1), condition=Q(state="waiting"), name="one_winner_waits"),
        ]

    def __str__(self):
        return f"trial {self.pk}: {self.get_state_display()}"


class Erasure(Job):
    """An actor's request to be forgotten, asked for, under way or done. Names the actor only until it is done."""

    actor = models.TextField(blank=True, help_text="Emptied when it is over: nobody is named afterwards.")
    actor_hash = models.CharField(max_length=64, help_text="Keyed with SECRET_KEY; see recommender.keyed.")
    outcome = models.JSONField(default=dict, help_text="How it was done, and how much was removed.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["actor_hash"],
                condition=Q(state__in=["queued", "running"]),
                name="one_erasure_an_actor",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"]) | Q(actor=""), name="over_is_not_named"
            ),
        ]

    def __str__(self):
        return f"erasure {self.pk}: {self.state}"


class ErasedState(models.Model):
    """A kept checkpoint's state without the actor of an erasure, until the erasure switches to it."""

    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="+")
    checkpoint_id = models.BigIntegerField()
    digest = models.CharField(max_length=64)
    n_bytes = models.BigIntegerField()
    data = models.BinaryField()
    stream_ms = models.BigIntegerField()
    n_events = models.BigIntegerField()
    n_predicted = models.BigIntegerField()
    hr20 = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["erasure", "checkpoint_id"], name="one_state_a_checkpoint")]

    def __str__(self):
        return f"checkpoint {self.checkpoint_id} as {self.erasure_id} leaves it"


class ApiKey(models.Model):
    """What a machine shows to be let in. Only a hash of the key is kept; the key itself is shown once, when made."""

    class Scope(models.TextChoices):
        INGEST = "ingest"
        READ = "read"
        ADMIN = "admin"

    name = models.CharField(max_length=100, help_text="Who uses it.")
    start = models.CharField(max_length=12, editable=False, help_text="The first characters, to recognise it by.")
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope.choices))
    rate_per_s = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Events (ingest) or requests (read, admin) a second. Empty: no limit.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self):
        return f"{self.name} ({self.start}…)"
