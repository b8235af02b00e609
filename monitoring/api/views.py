"""The API of the stop switch and the findings.

Each view checks a request, makes one call, and answers. All need a key with the scope `admin`. The decisions of a key
are recorded as `api:` and its name.
"""

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from monitoring import model_state
from monitoring.api import serializers as shapes
from monitoring.api.serializers import parse
from monitoring.findings import finding_descriptions
from monitoring.operations import decide_finding, request_revert, retry_revert, stop_switch
from recommender import errors
from recommender.api import openapi as docs
from recommender.api.api_keys import Key
from recommender.api.base_views import ApiView
from recommender.models import ApiKey

_OF_READS = docs.refusals(errors.Invalid, *docs.OF_ANY)
_OF_ONE = docs.refusals(errors.NotFound, *docs.OF_ANY)
OF_DECISIONS = docs.refusals(errors.Invalid, errors.NotFound, errors.Conflict, *docs.OF_BODIES, *docs.OF_ANY)


class AdminView(ApiView):
    """An address for keys that may do everything."""

    scope = str(ApiKey.Scope.ADMIN)

    @staticmethod
    def by(request: Request) -> str:
        """Return the name under which the key decides."""
        return f"api:{cast(Key, request.auth).name}"


class ModelView(AdminView):
    @extend_schema(
        operation_id="get_model",
        tags=["model"],
        responses={200: shapes.ModelSerializer} | docs.refusals(*docs.OF_ANY),
    )
    def get(self, request: Request) -> Response:
        """Return the state of learning. Scope `admin`."""
        return Response(model_state.get_model())


class CheckpointsView(AdminView):
    @extend_schema(
        operation_id="list_checkpoints",
        tags=["model"],
        parameters=[shapes.PageSerializer],
        responses={200: shapes.CHECKPOINTS} | _OF_READS,
    )
    def get(self, request: Request) -> Response:
        """List the checkpoints that you can go back to, newest first. Scope `admin`."""
        page = model_state.list_checkpoints(**parse(shapes.PageSerializer, request.query_params))
        return Response({"checkpoints": page.rows, "before": page.before})


class _PinView(AdminView):
    is_pinned: bool

    def pin(self, request: Request, id: int) -> Response:
        values = parse(shapes.NoteSerializer, request.data)
        row = stop_switch.set_pinned(
            by=self.by(request), checkpoint_id=id, is_pinned=self.is_pinned, note=values["note"]
        )
        return Response(model_state.describe_checkpoint(row))


class PinView(_PinView):
    is_pinned = True

    @extend_schema(
        operation_id="pin_checkpoint",
        tags=["model"],
        parameters=shapes.ID,
        request=shapes.NoteSerializer,
        responses={200: shapes.CheckpointSerializer} | OF_DECISIONS,
    )
    def post(self, request: Request, id: int) -> Response:
        """Pin a checkpoint, so that it is kept at any age. Scope `admin`."""
        return self.pin(request, id)


class UnpinView(_PinView):
    is_pinned = False

    @extend_schema(
        operation_id="unpin_checkpoint",
        tags=["model"],
        parameters=shapes.ID,
        request=shapes.NoteSerializer,
        responses={200: shapes.CheckpointSerializer} | OF_DECISIONS,
    )
    def post(self, request: Request, id: int) -> Response:
        """Unpin a checkpoint, so that it may be deleted when it is old. Scope `admin`."""
        return self.pin(request, id)


class FreezeView(AdminView):
    @extend_schema(
        operation_id="freeze",
        tags=["model"],
        request=shapes.ScopedNoteSerializer,
        responses={200: shapes.STATE} | OF_DECISIONS,
    )
    def post(self, request: Request) -> Response:
        """Stop learning at once. Events are accepted and wait, and lists stay as they are.

        Scope `admin`.
        """
        stop_switch.freeze(by=self.by(request), **parse(shapes.ScopedNoteSerializer, request.data))
        return Response({"state": "frozen"})


class ThawView(AdminView):
    @extend_schema(
        operation_id="thaw",
        tags=["model"],
        request=shapes.ScopedNoteSerializer,
        responses={200: shapes.STATE} | OF_DECISIONS,
    )
    def post(self, request: Request) -> Response:
        """Learn again, with the waiting events first. Scope `admin`."""
        stop_switch.thaw(by=self.by(request), **parse(shapes.ScopedNoteSerializer, request.data))
        return Response({"state": "learning"})


class RevertView(AdminView):
    @extend_schema(
        operation_id="revert",
        tags=["model"],
        request=shapes.RevertSerializer,
        responses={202: shapes.ASKED} | OF_DECISIONS,
    )
    def post(self, request: Request) -> Response:
        """Go back to a checkpoint.

        Drop all later events, or learn them again, or leave some out.

        The revert runs in the background, while lists are served and events accepted. `GET
        /api/v1/model/reverts/{id}` reports its progress. With `preview` nothing changes, and the outcome shows what
        would change. Scope `admin`.
        """
        values = parse(shapes.RevertSerializer, request.data)
        asked = request_revert.revert(
            by=self.by(request),
            note=values["note"],
            checkpoint_id=values["checkpoint"],
            mode=values["mode"],
            exclude=shapes.exclude_of(values.get("exclude")),
            is_preview=values["preview"],
        )
        return Response({"revert": asked.pk, "state": asked.state}, status=202)


class RevertStateView(AdminView):
    @extend_schema(
        operation_id="get_revert",
        tags=["model"],
        parameters=shapes.ID,
        responses={200: shapes.RevertStateSerializer} | _OF_ONE,
    )
    def get(self, request: Request, id: int) -> Response:
        """Return the progress of a revert or preview, and its outcome. Scope `admin`."""
        return Response(model_state.get_revert(revert_id=id))


class RevertRetryView(AdminView):
    @extend_schema(
        operation_id="retry_revert",
        tags=["model"],
        parameters=shapes.ID,
        request=shapes.NoteSerializer,
        responses={202: shapes.ASKED} | OF_DECISIONS,
    )
    def post(self, request: Request, id: int) -> Response:
        """Try a revert, a preview or a promotion again that failed. Scope `admin`.

        It is a new revert with a number of its own, to the same checkpoint and by the same rule.
        """
        values = parse(shapes.NoteSerializer, request.data)
        asked = retry_revert.retry(by=self.by(request), revert_id=id, note=values["note"])
        return Response({"revert": asked.pk, "state": asked.state}, status=202)


class FindingsView(AdminView):
    @extend_schema(
        operation_id="list_findings",
        tags=["findings"],
        parameters=[shapes.FindingsQuerySerializer],
        responses={200: shapes.FINDINGS} | _OF_READS,
    )
    def get(self, request: Request) -> Response:
        """List the findings, newest first. Scope `admin`."""
        page = finding_descriptions.list_findings(**parse(shapes.FindingsQuerySerializer, request.query_params))
        return Response({"findings": page.rows, "before": page.before})


class FindingView(AdminView):
    @extend_schema(
        operation_id="get_finding",
        tags=["findings"],
        parameters=shapes.ID,
        responses={200: shapes.FindingDetailSerializer} | _OF_ONE,
    )
    def get(self, request: Request, id: int) -> Response:
        """Return a finding with reasons in words, evidence and newest events.

        Scope `admin`.
        """
        return Response(finding_descriptions.explain_finding(finding_id=id))


class ReleaseView(AdminView):
    @extend_schema(
        operation_id="release_finding",
        tags=["findings"],
        parameters=shapes.ID,
        request=shapes.NoteSerializer,
        responses={200: shapes.DECIDED} | OF_DECISIONS,
    )
    def post(self, request: Request, id: int) -> Response:
        """Release a finding: it is honest. Scope `admin`.

        All its events count within a second, each at its own time.
        """
        n = decide_finding.release(by=self.by(request), finding_id=id, **parse(shapes.NoteSerializer, request.data))
        return Response({"events": n})


class ConfirmView(AdminView):
    @extend_schema(
        operation_id="confirm_finding",
        tags=["findings"],
        parameters=shapes.ID,
        request=shapes.NoteSerializer,
        responses={200: shapes.DECIDED} | OF_DECISIONS,
    )
    def post(self, request: Request, id: int) -> Response:
        """Confirm a finding: it is manipulation. Scope `admin`.

        None of its events counts any more, within a second.
        """
        n = decide_finding.confirm(by=self.by(request), finding_id=id, **parse(shapes.NoteSerializer, request.data))
        return Response({"events": n})
