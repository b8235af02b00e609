"""Hide an item from every list, or show it again, and record the decision."""

from django.db import transaction

from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import Review
from recommender.intake import items
from recommender.models import Item


@transaction.atomic
def set_hidden(*, by: By, note: str, item_id: str, is_hidden: bool) -> Item:
    """Hide or show an item. The lists change when the learners wake next.

    An item that is shown again has the counts that it got while hidden. Raises Invalid, Conflict.
    """
    item = items.set_hidden(item_id=item_id, is_hidden=is_hidden)
    subject = {"item": item_id, "is_hidden": is_hidden}
    reviews.record(by=by, action=Review.Action.HIDE, note=note, subject=subject)
    return item
