"""The content security policy of every page: nothing from another host, nothing written into a page runs or paints.

The theme's Alpine compiles the expressions in its attributes, which needs 'unsafe-eval'. Only the admin has it, so
only accounts meet it; the public page and the API's docs do not. Nothing anywhere has 'unsafe-inline': scripts and
styles are files, data goes by `json_script`. static/console/strict.js says what the theme is told so that it keeps
to this; the browser's tests fail on every violation it reports.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_ADMIN = "/admin/"
_DIRECTIVES = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "frame-ancestors": "'none'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "object-src": "'none'",
}


def _policy(**more: str) -> str:
    directives = _DIRECTIVES | {name.replace("_", "-"): value for name, value in more.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())


POLICY = _policy()
ADMIN_POLICY = _policy(script_src="'self' 'unsafe-eval'")


class ContentSecurityPolicy:
    """Middleware: the policy on every answer, also on errors."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        is_admin = request.path_info.startswith(_ADMIN)
        response.headers["Content-Security-Policy"] = ADMIN_POLICY if is_admin else POLICY
        return response
