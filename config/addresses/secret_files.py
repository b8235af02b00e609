"""Read a secret from its variable, or from a file.

    SECRET_KEY=...                         the value itself
    SECRET_KEY_FILE=/run/secrets/key       a file that holds it, as Docker and Kubernetes mount secrets

The value of a file never enters the environment, so child processes and crash reports do not carry it. The supervisor
imports this module, so it uses the standard library only.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from config.home import CannotStart


class SecretUnreadable(CannotStart):
    """Error that names the variable whose secret cannot be read, and why."""


def read_secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a secret, or an empty text if it is not set.

    The line end that most editors write is no part of the value. Raises SecretUnreadable if both variables are set,
    or if the file is empty or cannot be read.
    """
    variable = f"{name}_FILE"
    value, file = environ.get(name, ""), environ.get(variable, "")
    if not file:
        return value
    if value:
        raise SecretUnreadable(f"Both {name} and {variable} are set. Unset one of them.")
    try:
        value = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnreadable(f"{variable} names a file that cannot be read: {error}.") from error
    if not value:
        raise SecretUnreadable(f"{variable} names an empty file: {file}.")
    return value


def is_set(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a secret is set, itself or as a file."""
    return name in environ or bool(environ.get(f"{name}_FILE"))
