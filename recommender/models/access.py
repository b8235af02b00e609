"""API keys."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class ApiKey(models.Model):
    """The key with which a client program authenticates.

    Only a hash of the key is stored. The key itself is shown once, when it is made.
    """

    class Scope(models.TextChoices):
        INGEST = "ingest"
        READ = "read"
        ADMIN = "admin"

    name = models.CharField(max_length=100, help_text="The program or team that uses it.")
    start = models.CharField(
        max_length=12, editable=False, help_text="The first characters, by which you recognise it."
    )
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope.choices))
    rate_per_s = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Events (ingest) or requests (read, admin) per second. Leave it empty for no limit.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    site = models.SmallIntegerField(default=1, db_default=1, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.start}…)"
