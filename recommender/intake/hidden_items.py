"""Hide items for operators, show them again, and list what is hidden.

    an operator's decision ──> hide ──> the `hidden_` columns of the item's row ──> off every list
    the site's requests    ──> intake.items ──> all other columns, and a count of attempts to show it

An item is hidden if the site or an operator hides it. An operator's decision outlasts everything the site sends,
deletions included, until an operator lifts it with `show`. The caller records who decides and why in the audit chain.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from recommender.errors import Conflict, Invalid
from recommender.ids import MAX_ID, is_id
from recommender.models import Item
from recommender.publishing.withheld_items import give_back, withhold

MAX_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class HiddenItem:
    """An item that an operator hides.

    n_attempts: how often the site tried to show it since then.
    """

    item: str
    title: str
    hidden_at: datetime
    hidden_by: str
    note: str
    is_described: bool
    n_attempts: int
    attempted_at: datetime | None


@transaction.atomic
def hide(*, item_id: str, by: str, note: str) -> Item:
    """Hide an item from every list until `show`.

    An item that the site never described gets a row for this. An item that the site hides is hidden by both. Raises
    Invalid for a bad id, and Conflict if an operator hides the item already.
    """
    item = _locked(item_id)
    if item.is_hidden_by_operator:
        raise Conflict(f"This item is already hidden, by {item.hidden_by}. Nothing was changed.")
    Item.objects.filter(id=item_id).update(
        hidden_at=Now(), hidden_by=by, hidden_note=note, n_show_attempts=0, show_attempted_at=None
    )
    withhold([item_id])
    item.refresh_from_db()
    return item


@transaction.atomic
def show(*, item_id: str) -> Item:
    """Lift the operators' decision to hide an item.

    If only the site hides the item, show it until the site hides it again. Raises Invalid for a bad id, and Conflict
    if the item is shown.
    """
    item = _locked(item_id)
    if item.is_hidden_by_operator:
        Item.objects.filter(id=item_id).update(
            hidden_at=None, hidden_by="", hidden_note="", n_show_attempts=0, show_attempted_at=None
        )
    elif item.is_hidden:
        Item.objects.filter(id=item_id).update(is_hidden=False, changed_at=Now())
    else:
        raise Conflict("This item is already shown. Nothing was changed.")
    item.refresh_from_db()
    if not item.is_hidden_now and item.deleted_at is None:
        give_back([item_id])
    return item


def list_hidden(*, limit: int = MAX_LISTED, after: str = "") -> list[HiddenItem]:
    """List the items that operators hide, the newest decisions first.

    after: an item of the list, from which on the list continues.
    """
    rows = Item.objects.filter(hidden_at__isnull=False).order_by("-hidden_at", "id")
    if after:
        last = rows.filter(id=after).first() if is_id(after) else None
        if last is None:
            raise Invalid(fields={"after": "No operator hides this item. Begin the list again."})
        rows = rows.filter(Q(hidden_at__lt=last.hidden_at) | Q(hidden_at=last.hidden_at, id__gt=last.id))
    return [describe_hidden(row) for row in rows[: max(1, min(limit, MAX_LISTED))]]


def describe_hidden(item: Item) -> HiddenItem:
    """Return what is known about an item that an operator hides."""
    assert item.hidden_at is not None
    return HiddenItem(
        item.id,
        item.title,
        item.hidden_at,
        item.hidden_by,
        item.hidden_note,
        item.is_described,
        item.n_show_attempts,
        item.show_attempted_at,
    )


def _locked(item_id: str) -> Item:
    """Return the row of an item, made if there is none.

    It is locked until the end of the caller's transaction.
    """
    if not is_id(item_id):
        raise Invalid(fields={"item": f"An id must have 1 to {MAX_ID} printable characters."})
    Item.objects.bulk_create([Item(id=item_id, is_described=False)], ignore_conflicts=True)
    return Item.objects.select_for_update().get(id=item_id)
