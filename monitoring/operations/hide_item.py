"""An item taken off every list by a person, or allowed there again, and written down with it."""

from django.db import transaction

from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import Review
from recommender.intake import items
from recommender.models import Item


@transaction.atomic
def set_hidden(*, by: By, note: str, item_id: str, is_hidden: bool) -> Item:
    """Within a wake of the learners it leaves the lists, or is on them again with what it counted meanwhile. Raises
    Invalid, Conflict."""
    item = items.set_hidden(item_id=item_id, is_hidden=is_hidden)
    subject = {"item": item_id, "is_hidden": is_hidden}
    reviews.record(by=by, action=Review.Action.HIDE, note=note, subject=subject)
    return item
