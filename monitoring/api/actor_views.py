"""The API that erases actors.

Keys need the scope `admin`, and no answer names an actor.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.api import serializers as shapes
from monitoring.api.serializers import parse
from monitoring.api.views import OF_DECISIONS, AdminView
from monitoring.operations import erase_actor
from recommender import errors
from recommender.api import openapi as docs
from recommender.control import erasures
from recommender.models import Erasure

ERASURE = inline_serializer(
    "Erasure",
    {
        "erasure": serializers.IntegerField(),
        "state": serializers.ChoiceField(Erasure.State.choices),
        "url": serializers.CharField(help_text="The address of this erasure's state."),
        "n_done": serializers.IntegerField(help_text="Events learned again so far."),
        "n_total": serializers.IntegerField(help_text="Events to learn again, as far as known."),
        "outcome": serializers.JSONField(
            help_text="Counts of removed data. `is_exact`: the model is now as if the actor had never acted."
        ),
        "error": serializers.CharField(),
    },
)


class ActorView(AdminView):
    """The address of one actor."""

    @extend_schema(
        operation_id="erase_actor",
        tags=["actors"],
        parameters=[
            OpenApiParameter("id", str, OpenApiParameter.PATH, description="Percent-encoded. May contain slashes."),
            OpenApiParameter(
                "note",
                OpenApiTypes.STR,
                description="The reason. It is kept forever, so do not write the actor's id.",
            ),
        ],
        responses={202: ERASURE} | docs.refusals(errors.Invalid, *docs.OF_ANY),
    )
    def delete(self, request: Request, id: str) -> Response:
        """Remove an actor's events and its influence on the lists. Scope `admin`.

        The answer is 202, whether the actor is known or not, and the erasure runs in the background. A second request
        in the meantime gets the same erasure. Later events of the actor are new events.
        """
        note = request.query_params.get("note", erase_actor.ASKED)
        asked = erase_actor.erase(actor_id=id, by=self.by(request), note=note)
        told = describe(asked)
        return Response(told, status=202, headers={"Location": told["url"]})


class ErasureView(AdminView):
    """The address of one erasure."""

    @extend_schema(
        operation_id="get_erasure",
        tags=["actors"],
        responses={200: ERASURE} | docs.refusals(errors.NotFound, *docs.OF_ANY),
    )
    def get(self, request: Request, id: int) -> Response:
        """Return the progress of an erasure, and what it removed. Scope `admin`."""
        return Response(describe(erasures.get(erasure_id=id)))


class ErasureRetryView(AdminView):
    @extend_schema(
        operation_id="retry_erasure",
        tags=["actors"],
        parameters=shapes.ID,
        request=shapes.NoteSerializer,
        responses={202: ERASURE} | OF_DECISIONS,
    )
    def post(self, request: Request, id: int) -> Response:
        """Try an erasure again that failed. Scope `admin`.

        The answer is 409 if it has not failed. An erasure that failed before 0.2.0 no longer names its actor, so
        erase the actor again instead.
        """
        values = parse(shapes.NoteSerializer, request.data)
        return Response(describe(erase_actor.retry(erasure_id=id, by=self.by(request), note=values["note"])), 202)


def describe(row: Erasure) -> dict[str, Any]:
    """Return the answer about an erasure."""
    return {
        "erasure": row.pk,
        "state": row.state,
        "url": f"/api/v1/erasures/{row.pk}",
        "n_done": row.n_done,
        "n_total": row.n_total,
        "outcome": row.outcome,
        "error": row.error,
    }
