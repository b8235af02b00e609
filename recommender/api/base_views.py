"""Views without DRF's request machinery, for the addresses called thousands of times a second.

    HttpRequest ──key──> rate ──> the view's method ──> bytes          a `LeanView` is an APIView to the schema only
         └────── any exception ──> errors.respond

DRF wraps the request, negotiates formats and renders: 100 us that say nothing here, where the answer is always JSON.
`LeanView` keeps DRF's class, so that drf-spectacular documents it like any other view, and replaces `dispatch`.
Everything else uses `ApiView`, with the same keys, errors and bounds.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.response import Response
from rest_framework.views import APIView

from recommender import counters, errors
from recommender.api import api_keys, rate_limits


class LeanView(APIView):
    """A view whose methods take (request, key) and give an HttpResponse.

    `scope` is what the key must have; with None everybody is let in and the methods get None for the key.
    """

    scope: ClassVar[str | None]
    authentication_classes = [api_keys.KeyAuthentication]  # for the schema

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            key = None
            if self.scope is not None:
                key = api_keys.authenticate(request.META.get("HTTP_AUTHORIZATION"))
                api_keys.require(key, self.scope)
            method = (request.method or "").lower()
            if method not in self.http_method_names or method == "options":
                raise errors.MethodNotAllowed
            view = getattr(self, method, None)
            if view is None:
                raise errors.MethodNotAllowed
            answer: HttpResponseBase = view(request, key, *args, **kwargs)
            return answer
        except Exception as exc:
            return self._refuse(exc)

    def _refuse(self, exc: Exception) -> HttpResponse:
        error = errors.of(exc)
        counters.ERRORS.labels(error.code).inc()
        response = errors.respond_with(error)
        if isinstance(error, errors.MethodNotAllowed):
            response["Allow"] = ", ".join(method for method in self.allowed_methods if method != "OPTIONS")
        return response


class ApiView(APIView):
    """Any other view of the API: DRF's way, with a key's scope and rate."""

    authentication_classes = [api_keys.KeyAuthentication]
    permission_classes = [api_keys.HasScope]
    throttle_classes = [rate_limits.KeyThrottle]

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        counters.ERRORS.labels(response.data["error"]["code"]).inc()
        return response


def json_response(content: Any, *, status: int = 200) -> HttpResponse:
    """Anything orjson can write, with its length so that it does not go out in chunks."""
    return bytes_response(orjson.dumps(content), status=status)


def bytes_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> HttpResponse:
    """JSON that is written already."""
    length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return HttpResponse(body, status=status, headers=length | dict(headers))
