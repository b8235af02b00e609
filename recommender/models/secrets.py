"""The fingerprint of the secret that keys the hashes of ids."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class IdFingerprint(models.Model):
    """The fingerprint of the secret with which this database was begun.

    There is at most one row. `recommender.log.id_secret` writes it once and compares it at every start.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    fingerprint = models.CharField(max_length=32)
    noted_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_fingerprint")]

    def __str__(self) -> str:
        return f"fingerprint {self.fingerprint}, noted {self.noted_at:%F %T}"
