"""Answers, errors and the key in the OpenAPI schema.

The views do not show them. Only drf-spectacular reads these shapes. Requests are checked in
recommender.intake.event_rows and recommender.intake.item_rows.
"""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from recommender import errors
from recommender.core.ranking.bypass import MODES
from recommender.core.vocabulary import Kind
from recommender.ids import MAX_ID
from recommender.intake.event_rows import MAX_LIST_ID, MAX_POSITION, REJECTIONS
from recommender.intake.item_rows import ITEM_REJECTIONS
from recommender.intake.json_rows import MAX_ROWS
from recommender.serving.list_ids import SOURCES
from recommender.serving.recommendations import MAX_OFFSET
from recommender.serving.trending import DEFAULT_LIMIT, MAX_EXCLUDED, MAX_LIMIT

KIND_CHOICES = [(kind.name.lower(), kind.name.lower()) for kind in Kind]


class KeyScheme(OpenApiAuthenticationExtension):
    """Describe `KeyAuthentication` in the schema."""

    target_class = "recommender.api.api_keys.KeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ARG002 (the base's signature)
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A key with the scope of the address: `ingest`, `read`, or `admin` for everything.",
        }


class ErrorSerializer(serializers.Serializer[Any]):
    """The one shape of all errors."""

    error = inline_serializer(
        "ErrorBody",
        {
            "code": serializers.ChoiceField([error.code for error in errors.ALL]),
            "message": serializers.CharField(help_text="The problem, and what to do about it."),
            "fields": serializers.DictField(help_text="The wrong parts of the request, each with its problem."),
        },
    )


def refusals(*kinds: type[errors.ApiError]) -> dict[int, OpenApiResponse]:
    """Return the errors that a URL can answer, by status."""
    by_status: dict[int, list[type[errors.ApiError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: OpenApiResponse(
            ErrorSerializer,
            description=" ".join(f"`{kind.code}`: {kind.message}" for kind in same),
            examples=[OpenApiExample(kind.code, kind().body, response_only=True) for kind in same],
        )
        for status, same in by_status.items()
    }


OF_ANY = (errors.NotAuthenticated, errors.Forbidden, errors.RateLimited, errors.Unavailable, errors.ApiError)
OF_BODIES = (
    errors.Unparsable,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.UnsupportedEncoding,
)


class ContextSerializer(serializers.Serializer[Any]):
    """The origin of an event, as your site saw it."""

    ip = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="IPv4 or IPv6. See PRIVACY.",
    )
    user_agent = serializers.CharField(
        required=False, allow_null=True, help_text="Cut to 512 characters. See PRIVACY."
    )
    referrer = serializers.CharField(required=False, allow_null=True, help_text="Cut to 1,024 characters.")
    country = serializers.CharField(required=False, allow_null=True, help_text="Two letters, ISO 3166.")


class EventSerializer(serializers.Serializer[Any]):
    """One act of an actor on an item."""

    actor = serializers.CharField(max_length=MAX_ID, help_text="Your id of the actor, any text.")
    item = serializers.CharField(max_length=MAX_ID, help_text="Your id of the item, any text.")
    event_id = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=128,
        help_text="Makes a retry harmless, because each id counts once.",
    )
    kind = serializers.ChoiceField([kind.name.lower() for kind in Kind], default="click")
    occurred_at = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="RFC 3339 with a time zone, or unix seconds. Default: the time it arrives. You may send it late.",
    )
    session = serializers.CharField(required=False, allow_null=True, max_length=128)
    campaign = serializers.CharField(
        required=False, allow_null=True, max_length=128, help_text="What brought the actor, for example a newsletter."
    )
    value = serializers.FloatField(required=False, allow_null=True)
    recommendation = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=MAX_LIST_ID,
        help_text="The `recommendation` of the answer that showed the item. Send `position` too.",
    )
    position = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=MAX_POSITION)
    # A field that must have this name. The metaclass removes it from the class.
    context = ContextSerializer(required=False, allow_null=True)  # type: ignore[assignment]


class EventsSerializer(serializers.Serializer[Any]):
    """A batch of events. You can also send one event without the list."""

    events: serializers.ListSerializer[Any] = serializers.ListSerializer(child=EventSerializer(), max_length=MAX_ROWS)


def _rejections(name: str, messages: dict[str, str]) -> serializers.ListField:
    row = inline_serializer(
        name,
        {
            "index": serializers.IntegerField(help_text="Place of the row in the body, from 0."),
            "code": serializers.ChoiceField(list(messages)),
            "message": serializers.CharField(),
        },
    )
    return serializers.ListField(child=row)


INGESTED = inline_serializer(
    "Ingested",
    {
        "accepted": serializers.IntegerField(help_text="Stored and committed."),
        "duplicates": serializers.IntegerField(help_text="Not stored again, because their event_id was known."),
        "rejected": _rejections("RejectedEvent", REJECTIONS),
    },
)


class ItemInSerializer(serializers.Serializer[Any]):
    """An item's description. Fields that you leave out become empty."""

    id = serializers.CharField(max_length=MAX_ID)
    title = serializers.CharField(required=False, max_length=500)
    url = serializers.CharField(required=False, max_length=2000, help_text="http:// or https://")
    categories = serializers.ListField(child=serializers.CharField(max_length=100), required=False, max_length=20)
    published_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Not listed before this time."
    )
    is_hidden = serializers.BooleanField(required=False, help_text="Never listed while true.")


ITEMS_IN = inline_serializer(
    "Items", {"items": serializers.ListSerializer(child=ItemInSerializer(), max_length=MAX_ROWS)}
)
ITEM_CHANGES = inline_serializer(
    "ItemChanges", {name: field for name, field in ItemInSerializer().fields.items() if name != "id"}
)
ITEMS_PUT = inline_serializer(
    "ItemsPut",
    {
        "created": serializers.IntegerField(),
        "updated": serializers.IntegerField(),
        "unchanged": serializers.IntegerField(),
        "kept_hidden": serializers.ListField(
            child=serializers.CharField(),
            help_text="Ids of items that you would show and an operator hides. Their other fields were written.",
        ),
        "rejected": _rejections("RejectedItem", ITEM_REJECTIONS),
    },
)

_STANDING: dict[str, serializers.Field[Any, Any, Any, Any]] = {
    "as_of": serializers.DateTimeField(help_text="All events received up to this time are counted."),
    "state": serializers.ChoiceField(["learning", "frozen"]),
    "checkpoint": serializers.IntegerField(allow_null=True),
    "age_ms": serializers.IntegerField(help_text="Age of `as_of` at the time of the answer."),
}
LISTED = inline_serializer(
    "List",
    {
        "items": serializers.ListField(
            child=inline_serializer(
                "Listed",
                {
                    "item": serializers.CharField(),
                    "score": serializers.FloatField(help_text="1.0 = one act made now by a trusted actor."),
                    "margin": inline_serializer(
                        "Margin",
                        {
                            "actors": serializers.IntegerField(
                                help_text="Fewest new actors that could put the best item outside the list here."
                            ),
                            "trust": serializers.FloatField(help_text="The same price as a sum of trust weights."),
                            "networks": serializers.IntegerField(
                                help_text="Fewest networks (/24, /48) for that, with 256 new actors in each."
                            ),
                            "clickers": serializers.IntegerField(
                                allow_null=True,
                                help_text="If the item does not belong in the list, at least this many of its"
                                " clickers were fake. Null beyond the first 50 items of the main list, and with"
                                " several shards.",
                            ),
                        },
                    ),
                },
            )
        ),
        "certain_places": serializers.ListField(
            child=inline_serializer(
                "CertainPlaces",
                {
                    "actors": serializers.IntegerField(help_text="A number of new actors acting together."),
                    "places": serializers.IntegerField(
                        help_text="Items that stay in the list against any such group."
                    ),
                },
            )
        ),
        **_STANDING,
    },
)

RECOMMENDED = inline_serializer(
    "Recommended",
    {
        "items": serializers.ListField(
            child=inline_serializer(
                "RecommendedItem",
                {
                    "item": serializers.CharField(),
                    "score": serializers.FloatField(
                        help_text="The items' order. A probability if the ranker ordered them, else the blend."
                    ),
                    "reasons": serializers.ListField(
                        child=inline_serializer(
                            "Reason",
                            {
                                "source": serializers.ChoiceField(list(SOURCES)),
                                "text": serializers.CharField(),
                                "item": serializers.CharField(
                                    required=False, help_text="For `similar`: the item it goes with."
                                ),
                                "actors": serializers.IntegerField(
                                    required=False, help_text="Number of actors behind the reason."
                                ),
                                "category": serializers.CharField(
                                    required=False, help_text="For `trending`: the category."
                                ),
                            },
                        )
                    ),
                },
            )
        ),
        "recommendation": serializers.CharField(
            allow_null=True, help_text="Send this, and the position from 0 on, with clicks on these items."
        ),
        "ranked_by": serializers.ChoiceField(
            list(MODES), help_text="The order that did best lately: the ranker's, or one of those it learns from."
        ),
        **_STANDING,
    },
)
SIMILAR = inline_serializer(
    "Similar",
    {
        "items": serializers.ListField(
            child=inline_serializer(
                "SimilarItem",
                {
                    "item": serializers.CharField(),
                    "score": serializers.FloatField(help_text="Strength of the link."),
                    "support": inline_serializer(
                        "Support",
                        {
                            "actors": serializers.IntegerField(
                                help_text="Number of actors that went from one item to the other."
                            )
                        },
                    ),
                    "margin": inline_serializer(
                        "LinkMargin",
                        {
                            "actors": serializers.IntegerField(
                                help_text="Fewest new actors that could take the place."
                            )
                        },
                    ),
                },
            )
        ),
        **_STANDING,
    },
)

LIST_PARAMETERS = [
    OpenApiParameter("limit", OpenApiTypes.INT, description=f"1 to {MAX_LIMIT}.", default=DEFAULT_LIMIT),
    OpenApiParameter("category", OpenApiTypes.STR, description="Only items of this category."),
    OpenApiParameter("country", OpenApiTypes.STR, description="The list as counted in this country, two letters."),
    OpenApiParameter(
        "exclude",
        OpenApiTypes.STR,
        many=True,
        description=f"Ids to leave out, at most {MAX_EXCLUDED}. Repeat the parameter, or separate ids by commas.",
    ),
    OpenApiParameter(
        "If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="The ETag of the list you have."
    ),
]
_OF_LISTS = {each.name: each for each in LIST_PARAMETERS}
RECOMMENDATION_PARAMETERS = [
    OpenApiParameter("actor", OpenApiTypes.STR, required=True, description="The actor that the list is for."),
    _OF_LISTS["limit"],
    OpenApiParameter("offset", OpenApiTypes.INT, description=f"Places to skip, 0 to {MAX_OFFSET}.", default=0),
    OpenApiParameter(
        "item", OpenApiTypes.STR, description="The item that the actor is reading now. The list goes with it."
    ),
    _OF_LISTS["category"],
    _OF_LISTS["country"],
    _OF_LISTS["exclude"],
]
SIMILAR_PARAMETERS = [
    OpenApiParameter("id", str, OpenApiParameter.PATH, description="Percent-encoded. It may contain slashes."),
    _OF_LISTS["limit"],
    _OF_LISTS["exclude"],
]
LIVE = inline_serializer("Live", {"live": serializers.BooleanField()})
READY = inline_serializer(
    "Ready",
    {
        "ready": serializers.BooleanField(),
        "checks": serializers.DictField(
            child=serializers.CharField(), help_text="`ok` or the problem, for each part."
        ),
        "warnings": serializers.ListField(
            child=serializers.CharField(), help_text="Limits that come near, and what to do, urgent ones first."
        ),
    },
)
