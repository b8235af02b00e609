"""Verdicts of the screen, rulings of reviewers, and exclusions of histories."""

from collections.abc import Sequence
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from recommender.core.vocabulary import Ruling, Verdict


class EventVerdict(models.Model):
    """An event that was held, quarantined or removed later.

    `recommender.learning.verdict_writer` writes these rows.
    """

    shard = models.SmallIntegerField()
    ordinal = models.BigIntegerField(help_text="Number of the event in the fold.")
    step = models.BigIntegerField(help_text="The step that took the event.")
    xid = models.BigIntegerField()
    seq = models.BigIntegerField()
    verdict = models.SmallIntegerField(choices=[(int(verdict), verdict.name.title()) for verdict in Verdict])
    was_held = models.BooleanField(default=False)
    score = models.FloatField(default=0.0)
    reasons = models.IntegerField(help_text="Bits of recommender.core.vocabulary.Reason.")
    revised_in = models.BigIntegerField(null=True, help_text="The step that gave the newest verdict.")
    evidence = models.BinaryField(null=True, help_text="One byte per feature. See recommender.core.screen.evidence.")
    p_values = ArrayField(
        models.FloatField(null=True),
        null=True,
        help_text="P-values of the actor, item and network forests, where they were used.",
    )
    alpha = models.FloatField(null=True, help_text="The p-value at which a forest flagged.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["shard", "ordinal"], name="one_verdict_an_event")]
        indexes = [
            BrinIndex(fields=["created_at"], name="verdict_created_at"),  # for pruning
            models.Index(fields=["seq"], name="verdict_of_an_event"),
            models.Index(
                fields=["shard", "revised_in"], condition=Q(revised_in__isnull=False), name="verdict_revised"
            ),
        ]

    def __str__(self) -> str:
        return f"event {self.ordinal}: {self.get_verdict_display().lower()}"


class Decision(models.Model):
    """A ruling of reviewers on events of one shard.

    It is an entry of the history, before the step that took it. `EVENT_COLUMNS` have one value for each event, in the
    same order. An event is removed from all of them at once (`cut`).
    """

    EVENT_COLUMNS = ("xid", "seq", "before")

    shard = models.SmallIntegerField()
    ruling = models.SmallIntegerField(choices=[(int(ruling), ruling.name.title()) for ruling in Ruling])
    xid = ArrayField(models.BigIntegerField(), help_text="Positions of the events in the log, in its order.")
    seq = ArrayField(models.BigIntegerField())
    since_ms = models.BigIntegerField(help_text="None of the events was received before this time (ms since 1970).")
    taken_in = models.BigIntegerField(
        null=True, help_text="Number of the step in which it took effect. Null while it waits."
    )
    before = ArrayField(
        models.SmallIntegerField(),
        null=True,
        help_text="The verdict on each event before, or -1 for an event in no history.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["shard", "taken_in"], name="decision_of_a_step"),
            models.Index(fields=["shard", "id"], name="decision_waiting", condition=Q(taken_in=None)),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(xid__len=F("seq__len")) & (Q(before=None) | Q(before__len=F("seq__len"))),
                name="decision_columns_of_one_length",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_ruling_display().lower()} {len(self.seq)} events of shard {self.shard}"

    def cut(self, is_kept: Sequence[bool]) -> dict[str, Any]:
        """Return the columns of its events with only those that are kept.

        A column that is null stays null.
        """
        columns = {name: getattr(self, name) for name in self.EVENT_COLUMNS}
        return {
            name: values and [value for value, stays in zip(values, is_kept, strict=True) if stays]
            for name, values in columns.items()
        }


class Exclusion(models.Model):
    """A rule for the events that a history leaves out.

    See `recommender.core.decisions`. It contains keys, never ids.
    """

    rule = models.JSONField(help_text="As recommender.core.decisions.ExclusionRule.state() gives it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"exclusion {self.pk}"
