"""The content security policy that every page is sent with.

A page may load nothing from another host. Nothing written into a page may run as a script or apply as a style.

The admin theme uses Alpine, which compiles the expressions in its attributes and so needs 'unsafe-eval'. Only the
admin has that, so only signed-in accounts meet it. The public page and the API documentation do without. No page has
'unsafe-inline': scripts and styles are files, and data is passed by `json_script`. static/console/strict.js
configures the theme's libraries so that they keep to this policy. The browser tests fail on every reported violation.
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
    """Middleware that adds the policy to every answer, including errors."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        is_admin = request.path_info.startswith(_ADMIN)
        response.headers["Content-Security-Policy"] = ADMIN_POLICY if is_admin else POLICY
        return response
