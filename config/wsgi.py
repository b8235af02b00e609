"""The WSGI application: two handlers over one project.

Programs call /api/, /health/ and /metrics thousands of times a second and send no cookies. These paths therefore run
without middleware. Only the pages have sessions, CSRF protection and the other middleware.
"""

import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config import celery  # noqa: F401 (the app by which ingest wakes the learner)
from recommender.connections import database_sessions

MACHINE_PATHS = ("/api/v1/", "/health/", "/metrics")


class _BareHandler(WSGIHandler):
    """Django's handler with an empty middleware chain."""

    _get_response: Callable[[HttpRequest], HttpResponseBase]  # Django has it, but its types leave it out

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 (Django's signature)
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)


django.setup(set_prefix=False)

from recommender.log import id_secret  # noqa: E402 - it needs the models

database_sessions.end_if_unsuitable()
# Static files come from the packages themselves until you run collectstatic.
warnings.filterwarnings("ignore", "No directory at", UserWarning)
id_secret.check_at_start()
_machines, _pages = _BareHandler(), WSGIHandler()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    handler = _machines if environ.get("PATH_INFO", "").startswith(MACHINE_PATHS) else _pages
    return handler(environ, start_response)
