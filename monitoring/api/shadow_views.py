"""The API of the undefended list.

Keys need the scope `admin`, because the list would show an attacker the effect of an attack.
"""

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import shadow_board
from monitoring.api.views import AdminView
from recommender import errors
from recommender.api import openapi as docs

PLACE = inline_serializer(
    "ShadowPlace",
    {
        "item": serializers.CharField(),
        "place": serializers.IntegerField(help_text="Place in the undefended list, from 1."),
        "score": serializers.FloatField(help_text="Score in the undefended list: decayed acts, each in full."),
        "served_place": serializers.IntegerField(
            allow_null=True, help_text="Place in the served list, null if none."
        ),
        "served_score": serializers.FloatField(),
    },
    many=True,
)
COMPARED = inline_serializer(
    "Shadow",
    {
        "is_on": serializers.BooleanField(help_text="True if there is an undefended list (SHADOW)."),
        "as_of": serializers.FloatField(help_text="Unix time up to which events are in both lists."),
        "items": PLACE,
        "held_back": serializers.ListField(
            child=serializers.CharField(),
            help_text="Those of the items that are not in the first places of the served list.",
        ),
    },
)


class ShadowView(AdminView):
    """The address of the undefended list."""

    @extend_schema(
        operation_id="get_shadow",
        tags=["model"],
        responses={200: COMPARED} | docs.refusals(errors.NoView, *docs.OF_ANY),
    )
    def get(self, request: Request) -> Response:
        """Compare the first places without a defence with the served list. Scope `admin`."""
        return Response(shadow_board.compare())
