"""Who is let in."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


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

    def __str__(self) -> str:
        return f"{self.name} ({self.start}…)"
