"""Turn DATABASE_URL into Django's settings of the database.

libpq itself parses the URL, so every option of PostgreSQL's own clients works here and means the same. Examples are
several hosts, `sslmode`, `target_session_attrs`, percent-encoding, unix sockets and IPv6. libpq refuses an option
that it does not know, and names it.
"""

import re
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

SCHEMES = ("postgres://", "postgresql://")
# Defaults that the URL may change. A host that silently went away is given up after seconds, not hours.
DEFAULTS: dict[str, Any] = {"connect_timeout": 3, "keepalives_idle": 10, "tcp_user_timeout": 10_000}
_WORD = re.compile(r"(?:\\.|\S)+")  # a backslash keeps the space after it
_DJANGO_NAMES = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}


def parse(url: str, session: dict[str, str]) -> dict[str, Any]:
    """Return the entry of DATABASES for a URL.

    session: settings that every session must have. The URL's `options` may add others, and may not change these.
    The entry has all of them under SESSION, for poolers that drop them.

    Raises ImproperlyConfigured, without the password in its message.
    """
    if not url.startswith(SCHEMES):
        raise ImproperlyConfigured("DATABASE_URL must begin with postgres:// or postgresql://.")
    try:
        given: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.Error as error:
        raise ImproperlyConfigured(f"DATABASE_URL cannot be used: {_without_secrets(str(error))}.") from None
    if not given.get("dbname") and not given.get("service"):
        raise ImproperlyConfigured("DATABASE_URL names no database: put /name after the host.")
    more = parse_options(str(given.pop("options", "")))
    if fixed := sorted(session.keys() & more.keys()):
        raise ImproperlyConfigured(
            f"`options` of DATABASE_URL sets {', '.join(fixed)}, which Groundswell sets itself. Remove it there."
            " For synchronous_commit, use the setting SYNCHRONOUS_COMMIT."
        )
    every = more | session
    server = {django: str(given.pop(name, "")) for name, django in _DJANGO_NAMES.items()}
    options = {name: str(value) for name, value in given.items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **server,
        "OPTIONS": DEFAULTS | options | {"options": write_options(every)},
        "SESSION": every,
    }


def _without_secrets(message: str) -> str:
    """Return libpq's message without its quotations, which may hold the password.

    The name of an option stays.
    """
    return message.strip() if "query parameter" in message else re.sub(r'"[^"]*"', '"..."', message.strip())


def parse_options(text: str) -> dict[str, str]:
    """Return the settings in libpq's `options`.

    >>> parse_options("-c search_path=site,public --work_mem=8MB -cjit=off")
    {'search_path': 'site,public', 'work_mem': '8MB', 'jit': 'off'}
    """
    found: dict[str, str] = {}
    words = iter(re.sub(r"\\(.)", r"\1", word) for word in _WORD.findall(text))
    for word in words:
        if word == "-c":
            pair = next(words, "")
        elif word.startswith(("--", "-c")):
            pair = word[2:]
        else:
            pair = ""
        name, has_value, value = pair.partition("=")
        if not name or not has_value:
            raise ImproperlyConfigured(f"`options` of DATABASE_URL has {word!r}: write -c name=value.")
        found[name.replace("-", "_")] = value
    return found


def write_options(session: dict[str, str]) -> str:
    """Return settings in the form of libpq's `options`.

    >>> write_options({"timezone": "UTC", "search_path": "a, b"})
    '-c timezone=UTC -c search_path=a,\\\\ b'
    """
    escaped = {name: value.replace("\\", "\\\\").replace(" ", "\\ ") for name, value in session.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())
