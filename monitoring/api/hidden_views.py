"""The API that hides items for operators.

Keys need the scope `admin`. The requests of keys with the scope `ingest` never change these decisions.
"""

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.api import serializers as shapes
from monitoring.api.serializers import parse
from monitoring.api.views import AdminView
from monitoring.audit.reviews import MAX_NOTE
from monitoring.json_shapes import MAX_LIMIT
from monitoring.operations import hide_item
from recommender import errors
from recommender.api import openapi as docs
from recommender.ids import MAX_ID
from recommender.intake import hidden_items
from recommender.intake.item_rows import ItemSerializer

_OF_DECISIONS = docs.refusals(errors.Invalid, errors.Conflict, *docs.OF_BODIES, *docs.OF_ANY)
_ID = OpenApiParameter("id", str, OpenApiParameter.PATH, description="Percent-encoded. It may contain slashes.")


class HiddenItemSerializer(serializers.Serializer[Any]):
    item = serializers.CharField()
    title = serializers.CharField()
    hidden_at = serializers.DateTimeField()
    hidden_by = serializers.CharField(help_text="An account, `api:KEY NAME` or `shell:ACCOUNT`.")
    note = serializers.CharField()
    is_described = serializers.BooleanField(help_text="False: your site deleted it, or never described it.")
    n_attempts = serializers.IntegerField(help_text="How often your site tried to show it since it is hidden.")
    attempted_at = serializers.DateTimeField(allow_null=True, help_text="The last attempt.")


class HiddenQuerySerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=50)
    after = serializers.CharField(
        max_length=MAX_ID,
        required=False,
        default="",
        trim_whitespace=False,
        help_text="Continues a list. Send `after` of the last answer.",
    )


HIDDEN_ITEMS = inline_serializer(
    "HiddenItems",
    {
        "items": HiddenItemSerializer(many=True),
        "after": serializers.CharField(allow_null=True, help_text="Send it to get more rows. Null at the end."),
    },
)


class HiddenItemsView(AdminView):
    """The items that operators hide."""

    @extend_schema(
        operation_id="list_hidden_items",
        tags=["items"],
        parameters=[HiddenQuerySerializer],
        responses={200: HIDDEN_ITEMS} | docs.refusals(errors.Invalid, *docs.OF_ANY),
    )
    def get(self, request: Request) -> Response:
        """List the items that operators hide, the newest decisions first. Scope `admin`.

        `n_attempts` counts how often your site tried to show an item since then.
        """
        asked = parse(HiddenQuerySerializer, request.query_params)
        limit = asked["limit"]
        found = hidden_items.list_hidden(limit=limit + 1, after=asked["after"])
        rows = [asdict(each) for each in found[:limit]]
        return Response({"items": rows, "after": rows[-1]["item"] if len(found) > limit else None})


class HiddenItemView(AdminView):
    """The decision about one item."""

    @extend_schema(
        operation_id="hide_item",
        tags=["items"],
        parameters=[_ID],
        request=shapes.NoteSerializer,
        responses={200: ItemSerializer} | _OF_DECISIONS,
    )
    def put(self, request: Request, id: str) -> Response:
        """Hide an item from every list until an operator shows it. Scope `admin`.

        Nothing that your site sends shows it again. An item that was never described can be hidden too.
        """
        note = parse(shapes.NoteSerializer, request.data)["note"]
        item = hide_item.set_hidden(by=self.by(request), note=note, item_id=id, is_hidden=True)
        return Response(ItemSerializer(item).data)

    @extend_schema(
        operation_id="show_item",
        tags=["items"],
        parameters=[
            _ID,
            OpenApiParameter(
                "note", OpenApiTypes.STR, required=True, description="The reason. Kept forever: do not name actors."
            ),
        ],
        responses={200: ItemSerializer} | _OF_DECISIONS,
    )
    def delete(self, request: Request, id: str) -> Response:
        """Lift the operators' decision to hide an item. Scope `admin`.

        An item that your site hides too stays hidden. If only your site hides it, it is shown until you hide it
        again. 409: it is shown already.
        """
        note = request.query_params.get("note", "")[: MAX_NOTE + 1]
        item = hide_item.set_hidden(by=self.by(request), note=note, item_id=id, is_hidden=False)
        return Response(ItemSerializer(item).data)
