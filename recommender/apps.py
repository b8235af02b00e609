"""Load the recommender in Groundswell's own project, and refuse any other."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.db import DatabaseError
from django.db.backends.signals import connection_created

from recommender.connections import database_sessions

_OWN_SETTINGS = ("BROKER_URL", "VIEW_URL", "SHARDS", "STEP_EVENTS", "OVERVIEW_PANELS")


class RecommenderConfig(AppConfig):
    name = "recommender"

    def import_models(self) -> None:
        if is_own_project():
            super().import_models()
        else:
            refuse(self)

    def ready(self) -> None:
        if is_own_project():
            checks.register(check_id_secret, checks.Tags.database)
            connection_created.connect(database_sessions.prepare, dispatch_uid="database_sessions")


def is_own_project() -> bool:
    """Return whether the settings come from `config.settings`."""
    return all(hasattr(settings, name) for name in _OWN_SETTINGS)


def refuse(app: AppConfig) -> None:
    """Leave this app empty, and register the check.

    So the check is the first thing that a developer reads. Django imports some modules of every app before it prints
    a check. Ours would fail there.
    """
    app.models = apps.all_models[app.label]
    for name in (f"{app.name}.admin", f"{app.name}.templatetags"):
        sys.modules[name] = ModuleType(name)
    checks.register(check_project)


def check_id_secret(*, databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Return the error for settings with another secret than the database.

    A database that does not answer is an error of its own, which the command reports.
    """
    from recommender.log import id_secret  # noqa: PLC0415 - it needs the models

    with suppress(DatabaseError):
        if databases and id_secret.is_wrong():
            return [checks.Error(id_secret.IdSecretWrong.advice, id="recommender.E002")]
    return []


def check_project(**_: Any) -> list[checks.CheckMessage]:
    """Return the error for a project that lists our packages as its apps."""
    if is_own_project():
        return []
    what = (
        "Groundswell is a server of its own, not a reusable app: remove `recommender` and `monitoring` from"
        " INSTALLED_APPS, start it with `groundswell run`, and call its HTTP API from your project."
    )
    return [checks.Error(what, id="recommender.E001")]
