"""Items as clients send them and as the API shows them.

`ITEMS` checks incoming items, in bulk or one at a time. `ItemSerializer` describes outgoing ones. msgspec does the
checks because one request can hold 10,000 items.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from rest_framework import serializers

from recommender.errors import Invalid
from recommender.ids import MAX_ID
from recommender.intake.json_rows import Rejection, Shape
from recommender.models import Item

EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)

ITEM_REJECTIONS = {
    "not_an_object": "An item must be a JSON object with at least `id`.",
    "invalid_id": f"`id` must be a string of 1 to {MAX_ID} printable characters.",
    "invalid_title": "`title` must be a string of at most 500 printable characters.",
    "invalid_url": (
        "`url` must have at most 2,000 printable characters and begin with http:// or https://. It may be empty."
    ),
    "invalid_categories": "`categories` must be at most 20 strings of 1 to 100 printable characters.",
    "invalid_published_at": "`published_at` must be null, or RFC 3339 with a time zone in a year from 1900 to 2999.",
    "invalid_is_hidden": "`is_hidden` must be true or false.",
}


class ItemRow(msgspec.Struct, kw_only=True):
    """One item as the client sent it. Other fields are ignored."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    title: Annotated[str, Meta(max_length=500)] = ""
    url: Annotated[str, Meta(max_length=2000)] = ""
    categories: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=20)] = []
    published_at: Annotated[datetime, Meta(tz=True)] | None = None
    is_hidden: bool = False


ITEMS = Shape(ItemRow, plural="items", messages=ITEM_REJECTIONS)
PATCHABLE = tuple(name for name in ItemRow.__struct_fields__ if name != "id")


def parse_items(body: bytes) -> tuple[list[ItemRow], list[Rejection]]:
    """Validate a body of items.

    Raises Unparsable and TooManyEvents. Any other problem rejects a single item.
    """
    decoded, rejected = ITEMS.decode(body)
    rows = []
    for index, row in decoded:
        code = _problem(row)
        if code is None:
            rows.append(row)
        else:
            rejected.append(ITEMS.rejection(index, code))
    rejected.sort(key=lambda rejection: rejection["index"])
    return rows, rejected


def parse_changes(item: Item, changes: Any) -> ItemRow:
    """Return an item with some fields changed, validated like a whole one.

    Raises Invalid.
    """
    if not isinstance(changes, dict) or not any(name in changes for name in PATCHABLE):
        raise Invalid(f"Send a JSON object with at least one of {', '.join(PATCHABLE)}.")
    wrong = {}
    row = ItemRow(id=item.id, **{name: getattr(item, name) for name in PATCHABLE})
    for name in PATCHABLE:
        if name in changes:
            one, rejected = parse_items(msgspec.json.encode({"id": item.id, name: changes[name]}))
            if rejected:
                wrong[name] = rejected[0]["message"]
            else:
                setattr(row, name, getattr(one[0], name))
    if wrong:
        raise Invalid(fields=wrong)
    return row


def _problem(row: ItemRow) -> str | None:
    is_web = not row.url or row.url.startswith(("https://", "http://"))
    is_right = {
        "invalid_id": row.id.isprintable(),
        "invalid_title": row.title.isprintable(),
        "invalid_url": is_web and row.url.isprintable(),
        "invalid_categories": "".join(row.categories).isprintable(),
        "invalid_published_at": row.published_at is None or EARLIEST <= row.published_at < LATEST,
    }
    return next((code for code, right in is_right.items() if not right), None)


class ItemSerializer(serializers.ModelSerializer[Item]):
    """An item as the API shows it."""

    is_hidden = serializers.BooleanField(
        source="is_hidden_now", read_only=True, help_text="You or an operator hide it. Never listed while true."
    )
    hidden_by_operator = serializers.BooleanField(
        source="is_hidden_by_operator",
        read_only=True,
        help_text="An operator hides it. No request of yours shows it until an operator does.",
    )

    class Meta:
        model = Item
        fields = [
            "id",
            "title",
            "url",
            "categories",
            "published_at",
            "is_hidden",
            "hidden_by_operator",
            "changed_at",
        ]
        read_only_fields = ["changed_at"]
