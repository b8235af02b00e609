"""Wrappers for every page and form: permissions, the frame, and error messages.

    request ──> the admin's login ──> role ──> view ──> render: the admin's frame, state of learning, permissions

Views raise the errors of `recommender.errors`. A page answers with the error. A form goes back to its page and shows
it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from monitoring import model_state, roles
from recommender.errors import ApiError

View = Callable[..., HttpResponseBase]
P = ParamSpec("P")


class ConsoleRequest(HttpRequest):
    """A request of an account that is logged in, for the type checker.

    Django creates no such objects. `page` and `form` cast the requests that they let in.
    """

    user: User


def page(view: Callable[Concatenate[ConsoleRequest, P], HttpResponseBase]) -> View:
    """Wrap a page for accounts that may see the console.

    An ApiError becomes a page with its status.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            roles.require(request.user, roles.VIEW_CONSOLE)
            return view(cast(ConsoleRequest, request), *args, **kwargs)
        except ApiError as error:
            return _tell(request, error)

    return admin.site.admin_view(require_GET(answer))


Again = Callable[..., HttpResponse]
"""Answers a refused form with a page that keeps the typed values.

It takes the request, the error and the values in the path."""


def form(
    permission: str, again: Again | None = None
) -> Callable[[Callable[Concatenate[ConsoleRequest, P], str | HttpResponse]], View]:
    """Wrap a form for accounts with the permission.

    The view carries out the decision. It returns a message, and the browser goes back to `next` or to the page it
    came from. Or it returns the whole answer. An ApiError is shown as a message there, or `again` answers it with the
    error's status.
    """

    def wrap(view: Callable[Concatenate[ConsoleRequest, P], str | HttpResponse]) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                roles.require(request.user, permission)
            except ApiError as error:
                return _tell(request, error)
            try:
                done = view(cast(ConsoleRequest, request), *args, **kwargs)
            except ApiError as error:
                if again is not None:
                    return _refuse(request, error, again, *args, **kwargs)
                messages.error(request, in_a_sentence(error))
            else:
                if isinstance(done, HttpResponse):
                    return done
                messages.success(request, done)
            return HttpResponseRedirect(way_back(request))

        return admin.site.admin_view(require_POST(answer))

    return wrap


def render(request: HttpRequest, template: str, title: str, /, **context: Any) -> HttpResponse:
    """Render a page in the admin's frame.

    With `?part=1`, which the poller sends, only the part "console/_x.html" of the template "console/x.html" is
    rendered.
    """
    is_part = request.GET.get("part") == "1"
    if is_part:
        folder, _, name = template.rpartition("/")
        template = f"{folder}/_{name}"
    frame = {} if is_part else admin.site.each_context(request)
    may = {
        "may_review": request.user.has_perm(roles.REVIEW),
        "may_operate": request.user.has_perm(roles.OPERATE),
    }
    response = TemplateResponse(
        request, template, frame | may | {"title": title, "standing": model_state.get_standing()} | context
    )
    response["Cache-Control"] = "no-store"
    return response


def way_back(request: HttpRequest) -> str:
    """Return the page that a form names, never one of another site."""
    for address in (request.POST.get("next", ""), request.headers.get("Referer", "")):
        if address and url_has_allowed_host_and_scheme(
            address, {request.get_host()}, require_https=request.is_secure()
        ):
            return address
    return reverse("console:overview")


def in_a_sentence(error: ApiError) -> str:
    return " ".join([error.message, *map(str, error.fields.values())])


def _refuse(request: HttpRequest, error: ApiError, again: Again, *args: Any, **kwargs: Any) -> HttpResponse:
    try:
        response = again(request, error, *args, **kwargs)
    except ApiError as of_page:
        return _tell(request, of_page)
    response.status_code = error.status
    return response


def _tell(request: HttpRequest, error: ApiError) -> HttpResponse:
    response = TemplateResponse(
        request,
        "console/problem.html",
        admin.site.each_context(request) | {"title": "Not possible", "problem": in_a_sentence(error)},
    )
    response.status_code = error.status
    return response
