"""All errors of the API, and the one shape in which they are answered.

    {"error": {"code": "backlog_full", "message": "what happened and what to do", "fields": {}}}

Services raise a subclass of `ApiError`. `respond` turns any exception into a response, and `answer` does the same for
DRF's views. `not_found`, `bad_request` and `server_error` answer the requests that Django itself refuses.
The codes are part of the API and are never renamed. docs/reference/api.md lists each, and a test compares
the two.

`Transient` is no error of the API. Background jobs raise it (`recommender.upkeep.job_failures`).
"""

import logging
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import orjson
from django.conf import settings
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


class Transient(Exception):
    """An error that ends by itself.

    A job that meets it has not failed, and is tried again.
    """


class ApiError(Exception):
    """An error that the caller sees.

    `fields` names the parts of the request that are wrong, and why.
    """

    code = "internal"
    status = 500
    message = (
        "Groundswell failed to answer, and the failure is logged. Try again, and tell the operator if it goes on."
    )
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
    message = "The request has invalid values. Correct those that `fields` names."


class Unparsable(ApiError):
    code, status = "unparsable", 400
    message = "The body is not JSON of the expected shape. See /api/docs/ for the shape that this address takes."


class NotAuthenticated(ApiError):
    code, status = "not_authenticated", 401
    message = f"Send an API key with `Authorization: Bearer KEY`. Make a key with `{settings.COMMAND} keys make`."


class Forbidden(ApiError):
    code, status = "forbidden", 403
    message = "This key does not have the scope that this address needs. Use another key."


class NotFound(ApiError):
    code, status = "not_found", 404
    message = "There is nothing at this address. See /api/docs/ for all addresses."


class MethodNotAllowed(ApiError):
    code, status = "method_not_allowed", 405
    message = "This address does not take this method. See /api/docs/ for the methods it takes."


class NotAcceptable(ApiError):
    code, status = "not_acceptable", 406
    message = "Groundswell answers only in JSON. Send `Accept: application/json`."


class BodyTooLarge(ApiError):
    code, status = "body_too_large", 413
    message = "The body is too large. Send smaller batches."


class TooManyEvents(ApiError):
    code, status = "too_many_events", 413
    message = "A body may hold at most 10,000 events or items. Send several smaller ones."


class UnsupportedMediaType(ApiError):
    code, status = "unsupported_media_type", 415
    message = "The body must be JSON. Send it with `Content-Type: application/json`."


class UnsupportedEncoding(ApiError):
    code, status = "unsupported_encoding", 415
    message = "This content encoding is not known. Send the body without one, or with `Content-Encoding: gzip`."


class Conflict(ApiError):
    code, status = "conflict", 409
    message = "Another change came first. Read the current state and try again."


class RateLimited(ApiError):
    code, status, retry_after_s = "rate_limited", 429, 1
    message = (
        "This key has sent more than its rate allows. Wait as long as the Retry-After header asks, then send again."
    )


class BacklogFull(ApiError):
    code, status, retry_after_s = "backlog_full", 429, 5
    message = (
        "Too many events wait to be learned, so nothing was stored. Wait as long as the Retry-After header asks, then"
        " send them again."
    )


class Unavailable(ApiError):
    code, status, retry_after_s = "unavailable", 503, 1
    message = (
        "The database does not answer. Wait as long as the Retry-After header asks, then send the same request again."
    )


class NoView(ApiError):
    code, status, retry_after_s = "no_view", 503, 1
    message = (
        "No list has been published yet. Try again soon. If it goes on, start a learner: none has run, or the view"
        " store is new and empty."
    )


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
    """Return the error that the caller sees for any exception.

    An unexpected exception is logged, and the caller gets `internal`.
    """
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
    """Turn any exception into a response, for views that are not DRF's."""
    return respond_with(of(exc))


def respond_with(error: ApiError) -> HttpResponse:
    """Turn an error into a response."""
    body = orjson.dumps(error.body)
    response = HttpResponse(
        body,
        content_type="application/json",
        status=error.status,
        headers=error.headers | {"Content-Length": str(len(body))},
    )
    return _quiet(response)


def _quiet(response: T) -> T:
    """Keep Django from logging this response.

    Django logs a line for every answer of 400 and up, so any client could fill the log. The metrics count these
    answers.
    """
    cast(Any, response)._has_been_logged = True  # Django's own mark, missing from its types
    return response


def answer(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Handle exceptions for DRF."""
    error = of(exc)
    headers = error.headers
    if isinstance(error, MethodNotAllowed) and (view := context.get("view")):
        headers["Allow"] = ", ".join(view.allowed_methods)
    return _quiet(Response(error.body, status=error.status, headers=headers))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a 404 with JSON to machines, and with the usual page to people."""
    if request.path_info.startswith(MACHINE_PATHS):
        return respond_with(NotFound())
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a 400 with JSON to machines, and with the usual page to people."""
    if request.path_info.startswith(MACHINE_PATHS):
        return respond_with(Invalid(str(exception) or None))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a 500 with JSON to machines, and with the usual page to people.

    Django has logged the exception.
    """
    if request.path_info.startswith(MACHINE_PATHS):
        return respond_with(ApiError())
    return defaults.server_error(request)
