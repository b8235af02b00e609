"""Read, write and delete the descriptions of items, as the site sends them.

Each function that changes an item is one transaction. None of them changes what an operator decided about an item
(`recommender.intake.hidden_items`): an item that an operator hides stays hidden, and its other fields are written.

A deleted item keeps a row, so that it stays off the lists while events on it still come in. Only a new description
ends this.
"""

from collections.abc import Iterable
from typing import NamedTuple

import orjson
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from recommender.database_outage import database
from recommender.errors import NotFound
from recommender.intake.item_rows import PATCHABLE, ItemRow
from recommender.models import Item
from recommender.publishing.withheld_items import give_back, withhold


def get_item(*, item_id: str) -> Item:
    """Return an item, or raise NotFound if the site never described it or deleted it.

    An item that was never described may still be on a list.
    """
    # An unprintable id cannot have been stored. It may hold a NUL, which PostgreSQL refuses in a query.
    item = Item.objects.filter(id=item_id, is_described=True).first() if item_id.isprintable() else None
    if item is None:
        raise NotFound("No item with this id is described. Describe it with PUT /api/v1/items.")
    return item


# The rows are sorted by id, so that two writers wait for one another instead of deadlocking. A row that would not
# change is not written, because the publisher reads every written row. The subquery reads the table as it was before.
_PUT_ITEMS = """
INSERT INTO recommender_item (id, title, url, categories, published_at, is_hidden, changed_xid, changed_at)
SELECT id, title, url, categories, published_at, is_hidden, 0, now()
FROM jsonb_to_recordset(%s::jsonb) AS sent(
    id text, title text, url text, categories text[], published_at timestamptz, is_hidden boolean
) ORDER BY id COLLATE "C"
ON CONFLICT (id) DO UPDATE SET title = excluded.title, url = excluded.url, categories = excluded.categories,
    published_at = excluded.published_at, is_hidden = excluded.is_hidden, changed_at = excluded.changed_at,
    is_described = true, deleted_at = NULL
WHERE (recommender_item.title, recommender_item.url, recommender_item.categories, recommender_item.published_at,
       recommender_item.is_hidden, recommender_item.is_described)
    IS DISTINCT FROM
      (excluded.title, excluded.url, excluded.categories, excluded.published_at, excluded.is_hidden, true)
RETURNING xmax = 0
    OR EXISTS (SELECT FROM recommender_item AS old WHERE old.id = recommender_item.id AND NOT old.is_described)
"""


class ItemsPut(NamedTuple):
    """The outcome of a request.

    kept_hidden: ids of items that the request would show and an operator hides, sorted.
    """

    n_created: int
    n_updated: int
    n_unchanged: int
    kept_hidden: list[str]


def put_items(*, rows: list[ItemRow]) -> ItemsPut:
    """Write whole items, new, known or deleted.

    If two have the same id, the last one counts. An item that an operator hides stays hidden.
    """
    by_id = {row.id: row for row in rows}
    fields = [{name: getattr(row, name) for name in ItemRow.__struct_fields__} for row in by_id.values()]
    with database(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_PUT_ITEMS, [orjson.dumps(fields).decode()])
            is_new = [new for (new,) in cursor.fetchall()]
        kept_hidden = note_attempts(row.id for row in by_id.values() if not row.is_hidden)
        withhold(row.id for row in by_id.values() if row.is_hidden)
        give_back({row.id for row in by_id.values() if not row.is_hidden}.difference(kept_hidden))
    n_created = sum(is_new)
    return ItemsPut(n_created, len(is_new) - n_created, len(rows) - len(is_new), kept_hidden)


def update_item(*, row: ItemRow, is_shown: bool = False) -> Item:
    """Write one known item, or raise NotFound.

    is_shown: the site asks for it to be shown. If an operator hides it, this is noted and it stays hidden.
    """
    with transaction.atomic():
        item = Item.objects.select_for_update().filter(id=row.id, is_described=True).first()
        if item is None:
            raise NotFound("This item has just been deleted. Describe it again with PUT /api/v1/items.")
        for name in PATCHABLE:
            setattr(item, name, getattr(row, name))
        item.save(update_fields=[*PATCHABLE, "changed_at"])
        if is_shown:
            note_attempts([row.id])
        if row.is_hidden:
            withhold([row.id])
        elif not item.is_hidden_by_operator:
            give_back([row.id])
    return item


def delete_item(*, item_id: str) -> None:
    """Delete the description of an item, and keep the item off the lists.

    It stays off until it is described again. Its counts stay, and so do the decisions of operators. Raises NotFound.
    """
    with transaction.atomic():
        get_item(item_id=item_id)
        empty = ItemRow(id=item_id)
        values = {name: getattr(empty, name) for name in PATCHABLE}
        n_deleted = Item.objects.filter(id=item_id, is_described=True).update(
            **values, is_described=False, deleted_at=Now(), changed_at=Now()
        )
        if not n_deleted:
            raise NotFound("This item has just been deleted.")
        withhold([item_id])


def note_attempts(ids: Iterable[str]) -> list[str]:
    """Count the site's attempts to show items that operators hide.

    Returns the sorted ids of these. The caller has locked the rows of all the items in this transaction, so no two
    writers deadlock here.
    """
    with_operators = Item.objects.filter(id__in=list(ids), hidden_at__isnull=False)
    kept_hidden = sorted(with_operators.values_list("id", flat=True))
    if kept_hidden:
        Item.objects.filter(id__in=kept_hidden).update(
            n_show_attempts=F("n_show_attempts") + 1, show_attempted_at=Now()
        )
    return kept_hidden
