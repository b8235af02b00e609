"""Views without DRF's request handling, for the most used URLs.

    HttpRequest ──key──> rate ──> the view's method ──> bytes          a `LeanView` is an APIView to the schema only
         └────── any exception ──> errors.respond

These URLs are called thousands of times a second. DRF wraps the request, negotiates formats and renders. This takes
100 us and gains nothing here, because the answer is always JSON. `LeanView` keeps DRF's class, so that
drf-spectacular documents it like any other view, and replaces `dispatch`. All other views use `ApiView`, with the
same keys, errors and limits.
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
    """A view whose methods take (request, key) and return an HttpResponse.

    The key must have the scope `scope`. If the scope is None everyone is let in, and the methods get None as the key.
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
    """Any other view of the API, which uses DRF with a key's scope and rate."""

    authentication_classes = [api_keys.KeyAuthentication]
    permission_classes = [api_keys.HasScope]
    throttle_classes = [rate_limits.KeyThrottle]

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        counters.ERRORS.labels(response.data["error"]["code"]).inc()
        return response


def json_response(content: Any, *, status: int = 200) -> HttpResponse:
    """Return a response with any content that orjson can write.

    It has its length, so that it is not sent in chunks.
    """
    return bytes_response(orjson.dumps(content), status=status)


def bytes_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> HttpResponse:
    """Return a response with JSON that is already encoded."""
    length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return HttpResponse(body, status=status, headers=length | dict(headers))
