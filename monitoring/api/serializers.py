"""Shapes of the requests and answers of the control addresses.

Requests are checked here. Answers are only described: `monitoring.model_state` and
`monitoring.findings.finding_descriptions` make them.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

from monitoring.audit.reviews import MAX_NOTE
from monitoring.json_shapes import MAX_LIMIT
from monitoring.models import Finding
from monitoring.operations.request_revert import MAX_EXCLUDED, MAX_NAMED, Exclude
from recommender.errors import Invalid
from recommender.ids import MAX_ID, MAX_ROW_ID
from recommender.models import Learner, Revert


def _text(max_length: int, **more: Any) -> serializers.CharField:
    return serializers.CharField(max_length=max_length, trim_whitespace=False, **more)


def _id(**more: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=1, max_value=MAX_ROW_ID, **more)


class NoteSerializer(serializers.Serializer[Any]):
    """The reason for a decision."""

    note = serializers.CharField(max_length=MAX_NOTE, help_text="The reason. Kept forever: do not name actors.")


class ScopedNoteSerializer(NoteSerializer):
    scope = serializers.CharField(
        max_length=150, required=False, default="", allow_blank=True, help_text="Empty: the whole model."
    )


# `from` is a Python keyword, so the fields are made by name.
WindowSerializer = type(
    "WindowSerializer",
    (serializers.Serializer,),
    {
        "item": _text(MAX_ID),
        "from": serializers.DateTimeField(help_text="Received at this time or later."),
        "to": serializers.DateTimeField(help_text="Received before this time."),
    },
)


class ExcludeSerializer(serializers.Serializer[Any]):
    """The events that a revert leaves out, from the checkpoint on."""

    actors = serializers.ListField(child=_text(MAX_ID), max_length=MAX_EXCLUDED, required=False)
    networks = serializers.ListField(
        child=_text(50), max_length=MAX_NAMED, required=False, help_text="192.0.2.0/24 or 2001:db8:1::/48"
    )
    items = serializers.ListField(
        child=WindowSerializer(), max_length=MAX_NAMED, required=False, help_text="Items, each with a time span."
    )
    findings = serializers.ListField(
        child=_id(),
        max_length=MAX_NAMED,
        required=False,
        help_text="Findings: leave out the actors with held or removed events in them.",
    )


class RevertSerializer(NoteSerializer):
    """A request to revert."""

    checkpoint = _id(help_text="The checkpoint to go back to. GET /api/v1/model/checkpoints lists them.")
    mode = serializers.ChoiceField(Revert.Mode.choices, default=Revert.Mode.REPLAY)
    exclude = ExcludeSerializer(required=False, allow_null=True, help_text="Only with mode exclude.")
    preview = serializers.BooleanField(default=False, help_text="Compute the outcome, and change nothing.")


class PageSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=50)
    before = _id(required=False, help_text="Continues a list. Send `before` of the last answer.")


class FindingsQuerySerializer(PageSerializer):
    state = serializers.ChoiceField(Finding.State.choices, required=False)
    kind = serializers.ChoiceField(Finding.Kind.choices, required=False)
    item = _text(MAX_ID, required=False)


def parse(shape: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """Check and return a request's values. Raises Invalid."""
    serializer = shape(data=data)
    if not serializer.is_valid():
        raise Invalid(fields={name: _flat(each) for name, each in serializer.errors.items()})
    return dict(serializer.validated_data)


def _flat(errors: Any) -> str:
    """Return one sentence from DRF's errors, which are nested like the request."""
    if isinstance(errors, dict):
        name, each = next(iter(errors.items()))
        return f"{name}: {_flat(each)}"
    if isinstance(errors, list):
        return _flat(next((each for each in errors if each), ""))
    return str(errors)


def exclude_of(values: dict[str, Any] | None) -> Exclude | None:
    """Return the events that a revert leaves out, None for none."""
    if not values:
        return None
    windows = [(each["item"], _ms(each["from"]), _ms(each["to"])) for each in values.get("items", ())]
    return Exclude(values.get("actors", ()), values.get("networks", ()), windows, values.get("findings", ()))


def _ms(moment: Any) -> int:
    return int(moment.timestamp() * 1000)


# -- answers --------------------------------------------------------------------------------------------------------


class CheckpointSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    shard = serializers.IntegerField()
    digest = serializers.CharField()
    step = serializers.IntegerField()
    stream_time = serializers.DateTimeField(allow_null=True)
    events = serializers.IntegerField(help_text="Events in this state.")
    hr20 = serializers.FloatField(allow_null=True, help_text="Share of the last hours' clicks on the top 20.")
    predictions = serializers.IntegerField()
    is_pinned = serializers.BooleanField()
    fold_version = serializers.IntegerField(help_text="The version of the fold that wrote it.")
    bytes = serializers.IntegerField()
    # A field of this name. The metaclass removes it from the class.
    parent = serializers.IntegerField(allow_null=True)  # type: ignore[assignment]
    created_at = serializers.DateTimeField()


class ShardSerializer(serializers.Serializer[Any]):
    shard = serializers.IntegerField()
    state = serializers.ChoiceField(Learner.State.choices)
    stream_time = serializers.DateTimeField(allow_null=True)
    step = serializers.IntegerField()
    lag_s = serializers.FloatField(help_text="Age of the oldest event that is not learned, in seconds.")
    events = serializers.IntegerField()
    verdicts = serializers.DictField(child=serializers.IntegerField())
    reverts = serializers.IntegerField()
    fold_version = serializers.IntegerField(help_text="The version of the fold that learns the shard.")
    version_note = serializers.CharField(help_text="Says that another version learns. Else empty.")
    frozen_since = serializers.DateTimeField(allow_null=True)
    checkpoint = CheckpointSerializer(allow_null=True)


class ModelSerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(Learner.State.choices)
    frozen_since = serializers.DateTimeField(allow_null=True)
    waiting_events = serializers.IntegerField(help_text="About how many events are not learned yet.")
    stream_time = serializers.DateTimeField(allow_null=True)
    findings = serializers.DictField(child=serializers.IntegerField())
    automated_events = serializers.IntegerField(help_text="Events of declared crawlers. They make no finding.")
    revert = serializers.IntegerField(allow_null=True, help_text="The number of the revert that is running.")
    shards = ShardSerializer(many=True)


class RevertStateSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    mode = serializers.ChoiceField(Revert.Mode.choices)
    preview = serializers.BooleanField()
    state = serializers.ChoiceField(Revert.State.choices)
    checkpoints = serializers.ListField(child=serializers.IntegerField())
    events_done = serializers.IntegerField()
    events_total = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    outcome = serializers.JSONField(
        help_text="When done: events, excluded, quality, boards and changes, and upgrade if it goes back over one."
    )
    error = serializers.CharField(help_text="The reason, if it failed.")


class FindingSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(Finding.Kind.choices)
    state = serializers.ChoiceField(Finding.State.choices)
    severity = serializers.ChoiceField(["low", "medium", "high"])
    title = serializers.CharField()
    item = serializers.CharField(help_text="The item that most of its events are on.")
    shard = serializers.IntegerField(allow_null=True)
    first_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()
    events = serializers.IntegerField()
    actors = serializers.IntegerField()
    held = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    released_since = serializers.IntegerField()
    reasons = serializers.ListField(child=serializers.CharField())
    exposure = serializers.FloatField(
        help_text="Weight of its acts, each as a new actor's, divided by the score of place 10."
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)


class FindingDetailSerializer(FindingSerializer):
    items = serializers.ListField(child=serializers.DictField())
    why = serializers.ListField(
        child=serializers.DictField(), help_text="Reasons in words, with their number of events."
    )
    evidence = serializers.ListField(
        child=serializers.DictField(),
        help_text="By feature: percentiles of its events among cleared traffic, 0 to 100.",
    )
    newest = serializers.ListField(
        child=serializers.DictField(),
        help_text="Up to 100 of its events. `ip`, `network` and `user_agent` are as much as `PRIVACY` keeps.",
    )


def page_of(name: str, rows: str, of: type[serializers.Serializer[Any]]) -> Any:
    before = serializers.IntegerField(allow_null=True, help_text="Send it to get more rows. Null at the end.")
    return inline_serializer(name, {rows: of(many=True), "before": before})


CHECKPOINTS = page_of("Checkpoints", "checkpoints", CheckpointSerializer)
FINDINGS = page_of("Findings", "findings", FindingSerializer)
ASKED = inline_serializer(
    "RevertAsked", {"revert": serializers.IntegerField(), "state": serializers.ChoiceField(Revert.State.choices)}
)
DECIDED = inline_serializer(
    "Decided", {"events": serializers.IntegerField(help_text="The number of events decided on.")}
)
STATE = inline_serializer("ModelState", {"state": serializers.ChoiceField(Learner.State.choices)})
ID = [OpenApiParameter("id", OpenApiTypes.INT, OpenApiParameter.PATH)]
