"""Everything that can be answered instead of a result, and the one shape in which it is answered.

    {"error": {"code": "backlog_full", "message": "what happened and what to do", "fields": {}}}

Services raise a subclass of `ApiError`; `respond` turns any exception into a response, `answer` is the same for DRF's
views, `not_found` and `server_error` for what Django itself refuses. The codes are part of the API: docs/api.md
lists each (a test keeps the two together), and none is ever renamed.
"""

import logging
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import orjson
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views import defaults
from rest_framework import exceptions as drf
from rest_framework.response import Response

T = TypeVar("T", bound=HttpResponseBase)

logger = logging.getLogger(__name__)

MACHINE_PATHS = ("/api/", "/health/", "/metrics")
CHALLENGE = 'Bearer realm="groundswell"'


class ApiError(Exception):
    """Something the caller is told about. `fields` names what is wrong with which part of the request."""

    code = "internal"
    status = 500
    message = "Something broke here; it has been logged. Try again, and tell the operator if it stays."
    retry_after_s: int | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        fields: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or self.message
        self.fields = dict(fields or {})
        self.retry_after_s = retry_after_s or self.retry_after_s
        super().__init__(self.message)

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        return headers

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "fields": self.fields}}


class Invalid(ApiError):
    code, status = "invalid", 400
    message = "The request has invalid values; see fields."


class Unparsable(ApiError):
    code, status = "unparsable", 400
    message = "The body is not valid JSON of the shape this address takes."


class NotAuthenticated(ApiError):
    code, status = "not_authenticated", 401
    message = "Send a key: Authorization: Bearer KEY. `manage.py keys make` makes one."


class Forbidden(ApiError):
    code, status = "forbidden", 403
    message = "This key lacks the scope for this address."


class NotFound(ApiError):
    code, status = "not_found", 404
    message = "There is nothing at this address; /api/docs/ lists what there is."


class MethodNotAllowed(ApiError):
    code, status = "method_not_allowed", 405
    message = "This address does not take this method; /api/docs/ lists what it takes."


class NotAcceptable(ApiError):
    code, status = "not_acceptable", 406
    message = "Answers are JSON; accept application/json."


class BodyTooLarge(ApiError):
    code, status = "body_too_large", 413
    message = "The body is too large; send smaller batches."


class TooManyEvents(ApiError):
    code, status = "too_many_events", 413
    message = "One body may hold at most 10,000 events or items; send several."


class UnsupportedMediaType(ApiError):
    code, status = "unsupported_media_type", 415
    message = "Send JSON, with Content-Type: application/json."


class UnsupportedEncoding(ApiError):
    code, status = "unsupported_encoding", 415
    message = "Send the body plain or with Content-Encoding: gzip."


class Conflict(ApiError):
    code, status = "conflict", 409
    message = "Somebody else was first; look again."


class RateLimited(ApiError):
    code, status, retry_after_s = "rate_limited", 429, 1
    message = "This key is past its rate; wait and send again."


class BacklogFull(ApiError):
    code, status, retry_after_s = "backlog_full", 429, 5
    message = "More events wait to be learned than this server allows; nothing was stored, send them again later."


class Unavailable(ApiError):
    code, status, retry_after_s = "unavailable", 503, 1
    message = "The database does not answer; nothing was stored. Send the same request again."


class NoView(ApiError):
    code, status, retry_after_s = "no_view", 503, 1
    message = "No list has been published yet: the learner has not run, or the view store is new and empty."


ALL: tuple[type[ApiError], ...] = (ApiError, *ApiError.__subclasses__())

_TOLD_AS: dict[type[Exception], type[ApiError]] = {
    drf.ParseError: Unparsable,
    drf.NotAuthenticated: NotAuthenticated,
    drf.AuthenticationFailed: NotAuthenticated,
    drf.PermissionDenied: Forbidden,
    drf.NotFound: NotFound,
    drf.MethodNotAllowed: MethodNotAllowed,
    drf.NotAcceptable: NotAcceptable,
    drf.UnsupportedMediaType: UnsupportedMediaType,
    drf.Throttled: RateLimited,
    Http404: NotFound,
    DjangoPermissionDenied: Forbidden,
    RequestDataTooBig: BodyTooLarge,
    OperationalError: Unavailable,
    InterfaceError: Unavailable,
}


def of(exc: Exception) -> ApiError:
    """What the caller is told about any exception; what nobody foresaw is logged and told as `internal`."""
    if isinstance(exc, ApiError):
        return exc
    if isinstance(exc, drf.ValidationError):
        return Invalid(fields=exc.detail if isinstance(exc.detail, dict) else {"body": exc.detail})
    for kind in type(exc).__mro__:
        if kind in _TOLD_AS:
            return _TOLD_AS[kind]()
    logger.error("unexpected", exc_info=exc)
    return ApiError()


def respond(exc: Exception) -> HttpResponse:
    """Any exception as a response, for views that are not DRF's."""
    return respond_with(of(exc))


def respond_with(error: ApiError) -> HttpResponse:
    """An error as a response."""
    body = orjson.dumps(error.body)
    response = HttpResponse(
        body,
        content_type="application/json",
        status=error.status,
        headers=error.headers | {"Content-Length": str(len(body))},
    )
    return _quiet(response)


def _quiet(response: T) -> T:
    """Django logs a line for every answer of 400 and up, which lets any client fill the log; metrics count them."""
    cast(Any, response)._has_been_logged = True  # Django's own mark, which its types leave out
    return response


def answer(exc: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler."""
    error = of(exc)
    headers = error.headers
    if isinstance(error, MethodNotAllowed) and (view := context.get("view")):
        headers["Allow"] = ", ".join(view.allowed_methods)
    return _quiet(Response(error.body, status=error.status, headers=headers))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: JSON for machines, the usual page for people."""
    if request.path_info.startswith(MACHINE_PATHS):
        return respond_with(NotFound())
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400, the same way."""
    if request.path_info.startswith(MACHINE_PATHS):
        return respond_with(Invalid(str(exception) or None))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500, the same way; Django has logged the exception."""
    if request.path_info.startswith(MACHINE_PATHS):
        return respond_with(ApiError())
    return defaults.server_error(request)
