"""The regular chores, and the figures that warn before a limit is reached."""

from django.db import models
from django.db.models.functions import Now


class Chore(models.Model):
    """A regular chore: when it was begun and done, and why it failed.

    Beat asks for a chore often. The database's clock decides whether it is due (`recommender.upkeep.chores`).
    """

    name = models.CharField(max_length=50, primary_key=True)
    begun_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True, help_text="The last time that it was done without a failure.")
    failed_at = models.DateTimeField(null=True)
    n_failures = models.IntegerField(default=0, help_text="Failures since it was last done.")
    error = models.TextField(blank=True, help_text="The last failure. Empty if the last run was good.")

    def __str__(self) -> str:
        return f"{self.name}, last done at {self.done_at}"


class DatabaseSize(models.Model):
    """The size of the database at a time, from which its growth is measured."""

    at = models.DateTimeField(db_default=Now(), editable=False)
    n_bytes = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="database_size_by_time")]

    def __str__(self) -> str:
        return f"{self.n_bytes} bytes at {self.at}"
