"""Databases with the rows of a released version, upgraded by the migrations since.

    CREATE DATABASE ──migrate──> the tables of then ──load_rows──> its rows ──migrate──> the tables of now
                                                                                └──> a template: a copy for each test

A copy takes a fraction of a second. The template is made once in a process, on the tests' own server.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import connection

from tests.help.released.released_state import ReleasedState

_made: set[str] = set()


@contextmanager
def upgraded_database(released: ReleasedState) -> Iterator[None]:
    """Use a database that a released version filled and the migrations changed."""
    template = f"released_{released.name.replace('.', '_').replace('-', '_').lower()}"
    if template not in _made:
        _recreate(template)
        with _using(template):
            for app, newest in released.migrations.items():
                call_command("migrate", app, newest, verbosity=0)
            released.load_rows()
            call_command("migrate", verbosity=0)
        _made.add(template)
    copy = f"{template}_copy"
    _recreate(copy, template)
    try:
        with _using(copy):
            yield
    finally:
        _on_server(lambda cursor: cursor.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)"))


@contextmanager
def _using(name: str) -> Iterator[None]:
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def _recreate(name: str, template: str = "template0") -> None:
    def make(cursor: Any) -> None:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    _on_server(make)


def _on_server(act: Callable[[Any], None]) -> None:
    with connection._nodb_cursor() as cursor:  # type: ignore[attr-defined]  # no stub knows it
        act(cursor)
