"""Read, write, hide and delete the descriptions of items.

Each function that changes an item is one transaction.
"""

from typing import NamedTuple

import orjson
from django.db import connection, transaction

from recommender.database_outage import database
from recommender.errors import Conflict, Invalid, NotFound
from recommender.ids import MAX_ID, is_id
from recommender.intake.item_rows import ItemRow
from recommender.models import Item


def get_item(*, item_id: str) -> Item:
    """Return an item, or raise NotFound if the site never described it.

    An item without a description may still be on a list.
    """
    # An unprintable id cannot have been stored. It may hold a NUL, which PostgreSQL refuses in a query.
    item = Item.objects.filter(id=item_id).first() if item_id.isprintable() else None
    if item is None:
        raise NotFound("No item with this id was described. Describe it with PUT /api/v1/items.")
    return item


# The rows are sorted by id, so that two writers wait for one another instead of deadlocking. A row that would not
# change is not written, because the publisher reads every written row.
_PUT_ITEMS = """
INSERT INTO recommender_item (id, title, url, categories, published_at, is_hidden, changed_xid, changed_at)
SELECT id, title, url, categories, published_at, is_hidden, 0, now()
FROM jsonb_to_recordset(%s::jsonb) AS sent(
    id text, title text, url text, categories text[], published_at timestamptz, is_hidden boolean
) ORDER BY id COLLATE "C"
ON CONFLICT (id) DO UPDATE SET title = excluded.title, url = excluded.url, categories = excluded.categories,
    published_at = excluded.published_at, is_hidden = excluded.is_hidden, changed_at = excluded.changed_at
WHERE (recommender_item.title, recommender_item.url, recommender_item.categories, recommender_item.published_at,
       recommender_item.is_hidden)
    IS DISTINCT FROM
      (excluded.title, excluded.url, excluded.categories, excluded.published_at, excluded.is_hidden)
RETURNING xmax = 0
"""


class ItemsPut(NamedTuple):
    n_created: int
    n_updated: int
    n_unchanged: int


def put_items(*, rows: list[ItemRow]) -> ItemsPut:
    """Write whole items, new or known.

    If two have the same id, the last one counts.
    """
    by_id = {row.id: row for row in rows}
    fields = [{name: getattr(row, name) for name in ItemRow.__struct_fields__} for row in by_id.values()]
    with database(), connection.cursor() as cursor:
        cursor.execute(_PUT_ITEMS, [orjson.dumps(fields).decode()])
        is_new = [new for (new,) in cursor.fetchall()]
    n_created = sum(is_new)
    return ItemsPut(n_created, len(is_new) - n_created, len(rows) - len(is_new))


def update_item(*, row: ItemRow) -> Item:
    """Write one known item, or raise NotFound."""
    with transaction.atomic():
        item = Item.objects.select_for_update().filter(id=row.id).first()
        if item is None:
            raise NotFound("This item has just been deleted. Describe it again with PUT /api/v1/items.")
        for name in ItemRow.__struct_fields__:
            setattr(item, name, getattr(row, name))
        item.save()
    return item


def set_hidden(*, item_id: str, is_hidden: bool) -> Item:
    """Hide an item from every list, or allow it on lists again.

    An item that the site never described gets a row for this. Raises Invalid for a bad id, and Conflict if the item
    is already in that state.
    """
    if not is_id(item_id):
        raise Invalid(fields={"item": f"An id must have 1 to {MAX_ID} printable characters."})
    with transaction.atomic():
        Item.objects.bulk_create([Item(id=item_id)], ignore_conflicts=True)
        item = Item.objects.select_for_update().get(id=item_id)
        if item.is_hidden == is_hidden:
            raise Conflict(f"This item is already {'hidden' if is_hidden else 'shown'}. Nothing was changed.")
        item.is_hidden = is_hidden
        item.save(update_fields=["is_hidden", "changed_at"])
    return item


def delete_item(*, item_id: str) -> None:
    """Delete the description of an item.

    Its counts stay, so it may still be listed under its id. Raises NotFound.
    """
    with transaction.atomic():
        get_item(item_id=item_id).delete()
