"""The steps of a start that need Django.

It checks the settings and migrates the database. On a first run it also makes the operator's account and the API
keys.

The supervisor runs `python -m config.firstrun` at every start. It is a process of its own, so the supervisor stays
small. The operator's password is set only when the account is made, so a later change is kept. If you name your own
database server, no account and no key is made for you.
"""

import os
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction

from config.home import Home
from config.places import WORK_DIR


def make_accounts() -> None:
    # These modules read the models, which exist only after django.setup().
    from django.contrib.auth import get_user_model  # noqa: PLC0415

    from recommender.api import api_keys  # noqa: PLC0415

    credentials = Home.of_project(WORK_DIR).credentials()
    users = get_user_model().objects
    with transaction.atomic():
        if not users.filter(username=credentials["operator"]).exists():
            users.create_superuser(credentials["operator"], password=credentials["password"])
    for scope, secret in credentials["keys"].items():
        api_keys.ensure_key(name=f"first-run-{scope}", scope=scope, secret=secret)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    try:
        call_command("check", tags=["console"])
    except SystemCheckError as error:
        sys.exit(str(error))
    try:
        call_command("migrate", interactive=False)
    except SystemCheckError as error:  # the secret is not that of the database
        sys.exit(str(error))
    from recommender.log import id_secret  # noqa: PLC0415 - it needs the models

    id_secret.check_at_start()
    if settings.IS_FIRST_RUN:
        make_accounts()


if __name__ == "__main__":
    main()
