"""Jobs that fold the log again in the background: reverts, trials, erasures."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from recommender.models.learning import StoredState
from recommender.models.verdicts import Exclusion


class Job(models.Model):
    """A job that folds the log again in the background.

    `recommender.control.job_progress` updates its progress. Subclasses define `outcome`.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    n_done = models.BigIntegerField(default=0, help_text="Events folded so far.")
    n_total = models.BigIntegerField(default=0, help_text="Events to fold, as far as known.")
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    heartbeat_at = models.DateTimeField(null=True, help_text="Last sign of life of the process that runs it.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


UNFINISHED = [Job.State.QUEUED, Job.State.RUNNING]


class Revert(Job):
    """One revert, or its preview, which changes nothing."""

    class Mode(models.TextChoices):
        DROP = "drop", "forget everything since"
        REPLAY = "replay", "learn everything since again"
        EXCLUDE = "exclude", "learn everything since again, without the excluded events"

    mode = models.CharField(max_length=10, choices=Mode.choices)
    is_preview = models.BooleanField(default=False)
    checkpoints = ArrayField(models.BigIntegerField(), help_text="One per shard, in the order of shards.")
    exclusion = models.ForeignKey(Exclusion, null=True, on_delete=models.PROTECT, related_name="+")
    outcome = models.JSONField(default=dict, help_text="The changes it made, or would make: events, quality, boards.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(state__in=["queued", "running"], is_preview=False),
                name="one_revert_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"{'preview of a ' if self.is_preview else ''}revert {self.pk} ({self.mode}): {self.state}"


class Trial(models.Model):
    """One comparison of challengers with the learning model, and the winner's fate.

    `recommender.batch` holds trials.
    """

    class State(models.TextChoices):
        STAYS = "stays", "no challenger was better"
        TOLD = "told", "a challenger was better, but its state was not kept"
        WAITING = "waiting", "a challenger was better and waits to be promoted"
        PROMOTED = "promoted", "a challenger was better and was promoted"
        SUPERSEDED = "superseded", "a later trial found another winner"

    state = models.CharField(max_length=10, choices=State.choices)
    winner = models.CharField(max_length=200, blank=True, help_text="Name of the challenger. Empty if none won.")
    report = models.JSONField(help_text="As recommender.batch.challenger_trial.Report.as_json() gives it.")
    config = models.JSONField(default=dict, help_text="The winner's settings, without their secret.")
    checkpoints = ArrayField(
        models.BigIntegerField(),
        default=list,
        help_text="The winner's states, one per shard, in the order of shards.",
    )
    revert = models.OneToOneField(
        Revert,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The revert that switches to these states.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(models.Value(1), condition=Q(state="waiting"), name="one_winner_waits"),
        ]

    def __str__(self) -> str:
        return f"trial {self.pk}: {self.get_state_display()}"


class Erasure(Job):
    """An actor's request to be forgotten.

    It names the actor only until it is done. A failed one still names it, so that it can be tried again.
    """

    actor = models.TextField(
        blank=True, help_text="Emptied when the erasure is done, so that no one is named afterwards."
    )
    actor_hash = models.CharField(max_length=64, help_text="Keyed hash. See recommender.ids.")
    outcome = models.JSONField(default=dict, help_text="The way it was done, and the number of removed rows.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["actor_hash"],
                condition=Q(state__in=["queued", "running"]),
                name="one_erasure_an_actor",
            ),
            models.CheckConstraint(condition=~Q(state="done") | Q(actor=""), name="done_is_not_named"),
        ]

    def __str__(self) -> str:
        return f"erasure {self.pk}: {self.state}"


class ErasedState(StoredState):
    """A checkpoint's state without an actor, kept until the erasure switches to it."""

    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="+")
    checkpoint_id = models.BigIntegerField()
    stream_ms = models.BigIntegerField()
    n_events = models.BigIntegerField()
    n_predicted = models.BigIntegerField()
    hr20 = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["erasure", "checkpoint_id"], name="one_state_a_checkpoint")]

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint_id} as {self.erasure_id} leaves it"
