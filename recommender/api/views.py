"""The views of the HTTP API: each reads a request, makes one call and answers.

Their URLs are in recommender/api/urls.py. Events and lists are lean views, for the reasons given in
recommender/api/base_views.py. The others are DRF's.
"""

from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from recommender import counters, database_clock, errors
from recommender.api import health, metrics, rate_limits
from recommender.api import openapi as docs
from recommender.api.api_keys import Key
from recommender.api.base_views import ApiView, LeanView, bytes_response, json_response
from recommender.database_outage import database
from recommender.intake import ingest, items
from recommender.intake.event_rows import parse_events
from recommender.intake.item_rows import ItemSerializer, parse_changes, parse_items
from recommender.intake.request_bodies import read_body
from recommender.log.recent_acts import NOTHING, recent_of
from recommender.process_state import remembered
from recommender.publishing import excerpt, published_boards
from recommender.serving import recommendations, trending
from recommender.serving.trending import Lists

DAY_S = 86_400


class EventsView(LeanView):
    """Take in events."""

    scope = "ingest"

    @extend_schema(
        operation_id="ingest",
        tags=["events"],
        request=docs.EventsSerializer,
        responses={202: docs.INGESTED}
        | docs.refusals(*docs.OF_BODIES, errors.TooManyEvents, errors.BacklogFull, *docs.OF_ANY),
    )
    def post(self, request: HttpRequest, key: Key) -> HttpResponse:
        """Store one event, or up to 10,000 as `{"events": [...]}`. Scope `ingest`.

        202 means that they are committed. Each wrong event is rejected alone, with its index, a code, and a message
        that explains what to do. Unknown fields are ignored. If you send an `event_id` you can repeat a request as
        often as you
        like: each id counts once.
        """
        body = read_body(request)
        now_s = database_clock.unix_s()
        parsed = parse_events(body, now_s=now_s, oldest_s=now_s - settings.RETENTION_DAYS * DAY_S)
        rate_limits.charge(key, cost=parsed.n_received)
        done = ingest.ingest(parsed=parsed)
        return json_response(
            {"accepted": done.n_accepted, "duplicates": done.n_duplicates, "rejected": done.rejected}, status=202
        )


class TrendingView(LeanView):
    """The trending items, as published."""

    scope = "read"

    @extend_schema(
        operation_id="trending",
        tags=["lists"],
        parameters=docs.LIST_PARAMETERS,
        responses={200: docs.LISTED, 304: OpenApiResponse(description="Your list is the newest.")}
        | docs.refusals(errors.Invalid, errors.NoView, *docs.OF_ANY),
    )
    def get(self, request: HttpRequest, key: Key) -> HttpResponse:
        """Return the trending items now, best first. Scope `read`.

        They are served from memory. While the learner or a server is down you get the last list, and `age_ms` is its
        age.
        """
        rate_limits.charge(key)
        answer = _lists().answer(request.META.get("QUERY_STRING", ""))
        counters.TRENDING.inc()
        seen = request.META.get("HTTP_IF_NONE_MATCH")
        if seen is not None and (answer.tag in seen or seen.strip() == "*"):
            return HttpResponse(status=304, headers={"ETag": answer.tag})
        return bytes_response(answer.body, headers={"ETag": answer.tag, "Cache-Control": "private, no-cache"})


@cache
def _lists() -> Lists:
    return Lists(published_boards.reader())


remembered(_lists.cache_clear)


class RecommendationsView(LeanView):
    """A list for one actor."""

    scope = "read"

    @extend_schema(
        operation_id="recommendations",
        tags=["lists"],
        parameters=docs.RECOMMENDATION_PARAMETERS,
        responses={200: docs.RECOMMENDED} | docs.refusals(errors.Invalid, errors.NoView, *docs.OF_ANY),
    )
    def get(self, request: HttpRequest, key: Key) -> HttpResponse:
        """Return items for an actor, best first, without items it has seen. Scope `read`.

        An act counts here at once, a second after you sent it. An unknown actor gets the trending items. Send the
        answer's `recommendation`, and the `position` from 0 on, with clicks on these items.
        """
        rate_limits.charge(key)
        query = recommendations.parse_query(request.META.get("QUERY_STRING", ""))
        try:
            with database():
                recent = recent_of(query.actor)
        except errors.Unavailable:  # a list without the actor's last clicks is better than none
            recent = NOTHING
        answer = _recommender().recommend(query, recent)
        counters.RECOMMENDATIONS.inc()
        return json_response(answer)


class SimilarView(LeanView):
    """Items that go with an item."""

    scope = "read"

    @extend_schema(
        operation_id="similar",
        tags=["lists"],
        parameters=docs.SIMILAR_PARAMETERS,
        responses={200: docs.SIMILAR} | docs.refusals(errors.Invalid, errors.NoView, *docs.OF_ANY),
    )
    def get(self, request: HttpRequest, key: Key, id: str) -> HttpResponse:
        """Return items that actors go on to from this one, strongest first. Scope `read`.

        The list is empty if too few actors went on from it, or if these were too new. `margin.actors` is the number
        of new accounts needed to put another item in the place.
        """
        rate_limits.charge(key)
        listed = trending.parse_query(request.META.get("QUERY_STRING", ""))
        answer = _recommender().similar(id, listed.limit, listed.exclude)
        counters.SIMILAR.inc()
        return json_response(answer)


@cache
def _recommender() -> recommendations.Recommender:
    return recommendations.Recommender(published_boards.reader(), excerpt.make_reader())


remembered(_recommender.cache_clear)


class ItemsView(LeanView):
    """Descriptions of items, in bulk."""

    scope = "ingest"

    @extend_schema(
        operation_id="put_items",
        tags=["items"],
        request=docs.ITEMS_IN,
        responses={200: docs.ITEMS_PUT} | docs.refusals(*docs.OF_BODIES, errors.TooManyEvents, *docs.OF_ANY),
    )
    def put(self, request: HttpRequest, key: Key) -> HttpResponse:
        """Describe one item, or up to 10,000 as `{"items": [...]}`. Scope `ingest`.

        Each description replaces the one before. Each wrong item is rejected alone. An item that an operator hides
        stays hidden: `kept_hidden` names it, and its other fields are written. A deleted item may be listed again.
        """
        rows, rejected = parse_items(read_body(request))
        rate_limits.charge(key)
        done = items.put_items(rows=rows)
        return json_response(
            {
                "created": done.n_created,
                "updated": done.n_updated,
                "unchanged": done.n_unchanged,
                "kept_hidden": done.kept_hidden,
                "rejected": rejected,
            }
        )


@extend_schema(
    tags=["items"],
    parameters=[
        OpenApiParameter("id", str, OpenApiParameter.PATH, description="Percent-encoded. It may contain slashes.")
    ],
)
class ItemView(ApiView):
    """One item."""

    @property
    def scope(self) -> str:
        return "read" if self.request.method in SAFE_METHODS else "ingest"

    @extend_schema(
        operation_id="get_item", responses={200: ItemSerializer} | docs.refusals(errors.NotFound, *docs.OF_ANY)
    )
    def get(self, request: Request, id: str) -> Response:
        """Return the description of an item. Scope `read`."""
        return Response(ItemSerializer(items.get_item(item_id=id)).data)

    @extend_schema(
        operation_id="patch_item",
        request=docs.ITEM_CHANGES,
        responses={200: ItemSerializer}
        | docs.refusals(errors.Invalid, errors.NotFound, *docs.OF_BODIES, *docs.OF_ANY),
    )
    def patch(self, request: Request, id: str) -> Response:
        """Change some fields of an item's description. Scope `ingest`.

        An item that an operator hides stays hidden (`hidden_by_operator`).
        """
        row = parse_changes(items.get_item(item_id=id), request.data)
        is_shown = "is_hidden" in request.data and not row.is_hidden
        return Response(ItemSerializer(items.update_item(row=row, is_shown=is_shown)).data)

    @extend_schema(
        operation_id="delete_item",
        responses={204: OpenApiResponse(description="Deleted.")} | docs.refusals(errors.NotFound, *docs.OF_ANY),
    )
    def delete(self, request: Request, id: str) -> Response:
        """Delete an item's description, and remove it from every list. Scope `ingest`.

        It stays off, even if new events on it come in, until you describe it again with `PUT /items`.
        """
        items.delete_item(item_id=id)
        return Response(status=204)


class LiveView(LeanView):
    """Liveness of this process."""

    scope = None

    @extend_schema(operation_id="live", tags=["health"], auth=[], responses={200: docs.LIVE})
    def get(self, request: HttpRequest, key: None) -> HttpResponse:
        """Answer 200 while this process runs, even if all else is down. No key needed."""
        return bytes_response(b'{"live":true}')


class ReadyView(LeanView):
    """Readiness of everything an event needs to get onto a list."""

    scope = None

    @extend_schema(operation_id="ready", tags=["health"], auth=[], responses={200: docs.READY, 503: docs.READY})
    def get(self, request: HttpRequest, key: None) -> HttpResponse:
        """Answer 200 when all parts work, else 503. No key needed.

        `checks` names the parts that do not work. `warnings` has sentences about limits that come near, such as a
        disk that fills up, about a transaction that holds up learning, and about checkpoints that cannot be written.
        """
        checks = health.check()
        is_ready = all(state == "ok" for state in checks.values())
        answer = {"ready": is_ready, "checks": checks, "warnings": health.list_warnings()}
        return json_response(answer, status=200 if is_ready else 503)


class MetricsView(LeanView):
    """Metrics for Prometheus."""

    scope = None

    @extend_schema(
        operation_id="metrics", tags=["health"], auth=[], responses={(200, "text/plain"): OpenApiTypes.STR}
    )
    def get(self, request: HttpRequest, key: None) -> HttpResponse:
        """Return counters and gauges in Prometheus' text format. No key needed.

        Keep this address away from the public.
        """
        body = metrics.render()
        return HttpResponse(body, content_type=CONTENT_TYPE_LATEST, headers={"Content-Length": str(len(body))})
