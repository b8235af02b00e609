"""Hide an item from every list, or show it again, and record the decision."""

from django.db import transaction

from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import Review
from recommender.intake import hidden_items
from recommender.models import Item


@transaction.atomic
def set_hidden(*, by: By, note: str, item_id: str, is_hidden: bool) -> Item:
    """Hide or show an item. The lists change when the learners wake next.

    A hidden item stays hidden until someone shows it here, no matter what the site sends. Showing an item lifts the
    operators' decision. If only the site hides the item, it is shown until the site hides it again. It then has the
    counts that it got while hidden. Raises Invalid, Conflict.
    """
    decider, _ = reviews.check_decider(by)
    note = reviews.check_note(note)
    if is_hidden:
        item = hidden_items.hide(item_id=item_id, by=decider, note=note)
    else:
        item = hidden_items.show(item_id=item_id)
    subject = {"item": item_id, "is_hidden": is_hidden}
    reviews.record(by=by, action=Review.Action.HIDE, note=note, subject=subject)
    return item
