"""The progress of learning, its steps, and the states it can go back to.

    Learner, one row per shard ──> its active Checkpoint ──parent──> the one before ...
                                                         ──pieces──> Piece, shared by all checkpoints that name it
    Step, a mini-batch ──> Watched, the figures of the monitors after it
    Upgrade, from one version of the fold to the next ──> the Checkpoints before and after it

Steps are recorded because every refold takes the same ranges. `fold_version` has no default in the database. So a
program that does not know the column cannot write a row: its step fails instead of being folded by an older version.
"""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from recommender import history
from recommender.core import state_versions


def present_version() -> int:
    """Return the version of the fold that this program has."""
    return state_versions.FOLD_VERSION


def beginning() -> history.Recipe:
    """Return the history of a learner that begins with this version."""
    return history.beginning(state_versions.FOLD_VERSION)


# Columns of a stored state that lists need not load.
STATE_COLUMNS = ("data", "header", "pieces")


class Piece(models.Model):
    """A part of one or more stored states, kept once under its hash.

    `recommender.learning.checkpoints.piece_table` writes and deletes pieces, and says when.
    """

    pk = models.CompositePrimaryKey("hash", "place")
    hash = models.BinaryField(help_text="BLAKE2b-256 of the bytes.")
    place = models.TextField(help_text="URL of the object store that has the bytes. Empty: they are in `data`.")
    n_bytes = models.IntegerField()
    data = models.BinaryField(null=True)
    unnamed_at = models.DateTimeField(null=True, help_text="Since when no state names it. Null: one does.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(place="") ^ Q(data__isnull=True), name="piece_is_here_or_elsewhere")
        ]
        indexes = [models.Index(fields=["unnamed_at"], condition=Q(unnamed_at__isnull=False), name="piece_unnamed")]

    def __str__(self) -> str:
        return f"piece {bytes(self.hash).hex()[:12]}"


class StoredState(models.Model):
    """A Pipeline's state: a header and the pieces it names.

    Old rows have one block of bytes instead.
    """

    digest = models.CharField(max_length=64)
    n_bytes = models.BigIntegerField(help_text="Bytes of the whole state.")
    n_new_bytes = models.BigIntegerField(null=True, help_text="Bytes of its pieces that no stored state had before.")
    data = models.BinaryField(null=True, help_text="The state as one block, in rows of versions up to 0.1.")
    header = models.TextField(null=True, help_text="See recommender.core.checkpoint.")
    pieces = ArrayField(models.BinaryField(), null=True, help_text="Hashes of the header's pieces, in order.")
    place = models.TextField(
        default="",
        db_default="",
        help_text="URL of the object store with the pieces. Empty: the database.",
    )

    class Meta:
        abstract = True

    @property
    def share_unchanged(self) -> float | None:
        """Return the share of its bytes that were stored when it was written.

        None: not known.
        """
        return None if self.n_new_bytes is None else 1 - self.n_new_bytes / max(1, self.n_bytes)


class Checkpoint(StoredState):
    """Immutable state of a Pipeline at one log position, with its history."""

    shard = models.SmallIntegerField()
    step = models.BigIntegerField(help_text="Number of the last step folded in.")
    xid = models.BigIntegerField()
    seq = models.BigIntegerField()
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="+")
    fold_version = models.SmallIntegerField(default=present_version, help_text="The version that wrote the state.")
    recipe = models.JSONField(default=beginning, help_text="See recommender.history.")
    is_pinned = models.BooleanField(default=False, help_text="A pinned checkpoint is never dropped by thinning.")
    stream_ms = models.BigIntegerField(default=0, help_text="Stream time, ms since 1970.")
    n_events = models.BigIntegerField(default=0, help_text="Events folded in.")
    n_predicted = models.BigIntegerField(
        default=0, help_text="Predictions of the last hours, over which hr20 is measured."
    )
    hr20 = models.FloatField(default=0.0, help_text="Share of these predictions that are in the first 20 places.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["shard", "step", "digest"], name="one_checkpoint_a_state"),
            models.CheckConstraint(
                condition=Q(data__isnull=True) ^ Q(header__isnull=True), name="checkpoint_has_one_state"
            ),
        ]
        indexes = [models.Index(fields=["shard", "-created_at"], name="checkpoint_by_age")]

    def __str__(self) -> str:
        return f"checkpoint {self.pk} at step {self.step}"


class Learner(models.Model):
    """One row per shard: its progress, and its lock.

    Every step is a compare-and-set on this row.
    """

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
    n_released = models.BigIntegerField(default=0, help_text="Held events released without a reviewer, so far.")
    n_retracted = models.BigIntegerField(default=0, help_text="Events removed after they were learned, so far.")
    n_unjudged = models.BigIntegerField(
        default=0, help_text="Events that the screen could not judge, because it was too new or had failed."
    )
    stream_ms = models.BigIntegerField(default=0, help_text="Stream time, ms since 1970.")
    checkpoint = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="+")
    recipe = models.JSONField(default=beginning, help_text="See recommender.history.")
    n_reverts = models.IntegerField(default=0, help_text="How often its history was changed.")
    fold_version = models.SmallIntegerField(
        default=present_version, help_text="The version that learns the shard. Older ones do nothing for it."
    )
    checkpoint_error = models.TextField(
        default="", db_default="", help_text="Why the last checkpoint could not be written. Empty if it was."
    )
    checkpoint_failed_at = models.DateTimeField(null=True, help_text="Since when no checkpoint could be written.")
    n_checkpoint_failures = models.BigIntegerField(
        default=0, db_default=0, help_text="Checkpoints that could not be written, so far."
    )
    frozen_at = models.DateTimeField(null=True)
    stepped_at = models.DateTimeField(null=True)
    site = models.SmallIntegerField(default=1, db_default=1, editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(seq__gte=0, xid__gte=0, step__gte=0), name="not_negative")]

    def __str__(self) -> str:
        return f"learner {self.shard}: {self.state} at step {self.step}"


class Step(models.Model):
    """One mini-batch as the learner took it.

    Every refold takes the same range: after `from`, up to and including `to`.
    """

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
        null=True,
        help_text="Number in the fold of the step's first event. Null if the step was reverted and is in no history.",
    )
    n_events = models.IntegerField()
    excluded = ArrayField(
        models.IntegerField(),
        null=True,
        help_text="Places of the step's events that the learner's history leaves out.",
    )
    n_admitted = models.IntegerField()
    n_held = models.IntegerField(default=0)
    n_quarantined = models.IntegerField(default=0)
    n_released = models.IntegerField(default=0, help_text="Held earlier, and learned in this step.")
    n_retracted = models.IntegerField(default=0, help_text="Learned earlier, and removed in this step.")
    n_unjudged = models.IntegerField(default=0)
    n_predicted = models.IntegerField(help_text="Events whose item was predicted before the event was learned.")
    n_hits = models.IntegerField(help_text="Number of these found in the first 20 places.")
    reciprocal_ranks = models.FloatField(help_text="Sum of 1/rank over the hits.")
    n_trusted = models.IntegerField(default=0, help_text="Predictions for actors that have earned trust.")
    n_trusted_hits = models.IntegerField(default=0)
    n_canary = models.IntegerField(default=0, help_text="Predictions for the secret panel.")
    n_canary_hits = models.IntegerField(default=0)
    alarm = models.SmallIntegerField(
        choices=Alarm.choices, default=Alarm.NONE, help_text="The alarm raised in this step."
    )
    changed_ms = models.BigIntegerField(
        null=True, help_text="For an alarm, the stream time up to which all was well."
    )
    stream_ms = models.BigIntegerField()
    fold_version = models.SmallIntegerField(default=present_version, help_text="The version that folded the step.")
    duration_ms = models.FloatField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["shard", "number"], name="one_step_a_number")]
        indexes = [
            BrinIndex(fields=["created_at"], name="step_created_at"),  # for pruning
            models.Index(fields=["shard", "first_ordinal"], name="step_of_an_event"),
            models.Index(fields=["shard", "to_xid", "to_seq"], name="step_at_a_position"),
            models.Index(fields=["shard", "stream_ms"], condition=Q(alarm__gt=0), name="step_with_an_alarm"),
        ]

    def __str__(self) -> str:
        return f"step {self.number} of shard {self.shard}"


class Upgrade(models.Model):
    """The change of a shard from one version of the fold to another.

    It is an entry of the shard's history, after `step`. The digests are kept, also when thinning has dropped the
    checkpoints.
    """

    shard = models.SmallIntegerField()
    step = models.BigIntegerField(help_text="The last step before the change.")
    from_version = models.SmallIntegerField()
    to_version = models.SmallIntegerField()
    from_release = models.CharField(max_length=40, help_text="The first release with that version.")
    to_release = models.CharField(max_length=40)
    before = models.BigIntegerField(
        null=True, help_text="The last checkpoint of the older version. Null if it was folded from nothing."
    )
    before_step = models.BigIntegerField(
        help_text="Step of that checkpoint. The newer version folded the steps after it again."
    )
    before_digest = models.CharField(max_length=64, blank=True)
    after = models.BigIntegerField(help_text="The first checkpoint of the newer version, at `step`.")
    after_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["shard", "step"], name="upgrade_at_a_step")]

    def __str__(self) -> str:
        return f"upgrade {self.pk} of shard {self.shard} to fold version {self.to_version}"

    def sentence(self) -> str:
        """Describe the upgrade."""
        n_again = self.step - self.before_step
        steps = "1 step" if n_again == 1 else f"{n_again} steps"
        again = f". It learned {steps} since checkpoint {self.before} again" if n_again else ""
        return (
            f"shard {self.shard} changed from fold version {self.from_version} ({self.from_release}) to"
            f" {self.to_version} ({self.to_release}) after step {self.step}{again}"
        )


class Watched(models.Model):
    """The figures of `recommender.core.health_figures` after a step.

    That module defines their units and ranges. Old rows are thinned.
    """

    shard = models.SmallIntegerField()
    step = models.BigIntegerField()
    stream_ms = models.BigIntegerField(help_text="Stream time, ms since 1970.")
    at = models.DateTimeField(db_default=Now(), editable=False)
    lag_s = models.FloatField(help_text="Server clock minus stream time, in seconds.")
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

    def __str__(self) -> str:
        return f"shard {self.shard} after step {self.step}"


class FrozenScope(models.Model):
    """A board that stays as it is while the other lists go on."""

    scope = models.CharField(max_length=150, primary_key=True, help_text='"category:sports" or "country:DE".')
    board = models.BinaryField(help_text="As published when it was frozen.")
    as_of = models.FloatField(help_text="Unix time up to which it has all events.")
    frozen_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.scope} frozen at {self.frozen_at:%F %T}"
