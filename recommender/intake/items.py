"""What is known of items: read, written, hidden, forgotten. Each service is one transaction."""

from typing import NamedTuple

import orjson
from django.db import connection, transaction

from recommender.database_outage import database
from recommender.errors import Conflict, Invalid, NotFound
from recommender.ids import MAX_ID, is_id
from recommender.intake.item_rows import ItemRow
from recommender.models import Item


def get_item(*, item_id: str) -> Item:
    """Raises NotFound where the site never described the item, listed or not."""
    # an id nobody could have sent may hold a NUL, which PostgreSQL refuses to look for
    item = Item.objects.filter(id=item_id).first() if item_id.isprintable() else None
    if item is None:
        raise NotFound("No item of this id was described; PUT /api/v1/items describes one.")
    return item


# Sorted by id, so that two writers wait for one another instead of deadlocking. A row that would not change is left
# alone: the publisher reads whatever was written.
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
    """Write items whole, new or known; of two with one id the last counts."""
    by_id = {row.id: row for row in rows}
    fields = [{name: getattr(row, name) for name in ItemRow.__struct_fields__} for row in by_id.values()]
    with database(), connection.cursor() as cursor:
        cursor.execute(_PUT_ITEMS, [orjson.dumps(fields).decode()])
        is_new = [new for (new,) in cursor.fetchall()]
    n_created = sum(is_new)
    return ItemsPut(n_created, len(is_new) - n_created, len(rows) - len(is_new))


def update_item(*, row: ItemRow) -> Item:
    """Write one known item. Raises NotFound."""
    with transaction.atomic():
        item = Item.objects.select_for_update().filter(id=row.id).first()
        if item is None:
            raise NotFound("This item was deleted meanwhile.")
        for name in ItemRow.__struct_fields__:
            setattr(item, name, getattr(row, name))
        item.save()
    return item


def set_hidden(*, item_id: str, is_hidden: bool) -> Item:
    """Take an item off every list, or allow it there again; one that the site never described is kept under its id
    for this. Raises Invalid, Conflict where it is so already."""
    if not is_id(item_id):
        raise Invalid(fields={"item": f"An id has 1 to {MAX_ID} printable characters."})
    with transaction.atomic():
        Item.objects.bulk_create([Item(id=item_id)], ignore_conflicts=True)
        item = Item.objects.select_for_update().get(id=item_id)
        if item.is_hidden == is_hidden:
            raise Conflict(f"This item is {'hidden' if is_hidden else 'not hidden'} already.")
        item.is_hidden = is_hidden
        item.save(update_fields=["is_hidden", "changed_at"])
    return item


def delete_item(*, item_id: str) -> None:
    """Forget what is known of an item; its counts stay, so it may be listed under its id. Raises NotFound."""
    with transaction.atomic():
        get_item(item_id=item_id).delete()
