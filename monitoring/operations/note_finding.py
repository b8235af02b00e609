"""Record a note about a finding.

It decides nothing, but is in the audit log like decisions.
"""

from django.db import transaction

from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import Review
from monitoring.operations.decide_finding import get_finding


@transaction.atomic
def note(*, by: By, finding_id: int, note: str) -> Review:
    """Record a note about a finding, forever. Raises NotFound, Invalid."""
    finding = get_finding(finding_id)
    return reviews.record(by=by, action=Review.Action.NOTE, note=note, subject={"finding": finding.pk})
