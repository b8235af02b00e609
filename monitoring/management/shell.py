"""Helpers for commands that decide: the deciding account, and refusals."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from recommender.errors import ApiError


def shell_account() -> str:
    """Return the deciding account, as `monitoring.audit.reviews` records it.

    It is `shell:` and the account of the operating system.
    """
    try:
        return f"shell:{getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return f"shell:uid-{os.getuid()}"


@contextmanager
def refusals_told() -> Iterator[None]:
    """End the command with the message of a refused operation."""
    try:
        yield
    except ApiError as error:
        raise CommandError(" ".join([error.message, *map(str, error.fields.values())])) from None
