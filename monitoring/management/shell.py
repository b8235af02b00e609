"""What commands that decide something have in common: who typed them, and how a refusal is told."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from recommender.errors import ApiError


def shell_account() -> str:
    """Who decides, as `monitoring.audit.reviews` writes it: `shell:` and the account of the operating system."""
    try:
        return f"shell:{getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return f"shell:uid-{os.getuid()}"


@contextmanager
def refusals_told() -> Iterator[None]:
    """A refused operation ends the command with its message."""
    try:
        yield
    except ApiError as error:
        raise CommandError(" ".join([error.message, *map(str, error.fields.values())])) from None
