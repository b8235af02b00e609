"""Shared code of the commands that talk to a running server: URL, key, stopping."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "GROUNDSWELL_KEY"


def add_server_arguments(parser: CommandParser) -> None:
    """Add the arguments `--url` and `--key`."""
    parser.add_argument("--url", default=DEFAULT_URL, help=f"URL of the server ({DEFAULT_URL}).")
    parser.add_argument(
        "--key",
        help=f"An API key with the scope `ingest`. Default: ${KEY_VARIABLE}, which lists of processes do not show.",
    )


def key_of(options: dict[str, Any]) -> str:
    """Return the key given by the options or the environment.

    Raises CommandError.
    """
    key = options["key"] or os.environ.get(KEY_VARIABLE)
    if not key:
        raise CommandError(
            f"No API key is given. Use --key or set {KEY_VARIABLE}. `{settings.RUN}` printed a key."
            f" You can make another with: {settings.COMMAND} keys make NAME --scope ingest"
        )
    return str(key)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on SIGINT and SIGTERM.

    A second signal ends the process at once, as it would without this.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(_number: int, _frame: object) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()
