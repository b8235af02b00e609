"""`manage.py ids secret|check`: the secret that keys the hashes of ids."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from recommender.log import id_secret


class Command(BaseCommand):
    help = "Print the secret that keys the hashes of ids, or compare it with the database."
    requires_system_checks = ()  # a wrong secret is one of the errors that they report

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("secret", help="Print the value of ID_SECRET that belongs to this database. Keep it secret.")
        verbs.add_parser("check", help="Compare the secret of the settings with this database.")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            {"secret": self._secret, "check": self._check}[verb]()
        except DatabaseError as error:
            raise CommandError(f"The database does not answer: {str(error).strip()}") from error

    def _secret(self) -> None:
        found = id_secret.find()
        if found is None:
            raise CommandError(
                "The secret of this database is neither in the settings nor in a checkpoint. Set SECRET_KEY or"
                " ID_SECRET to the value it had when this database was begun, as in a backup of your settings."
            )
        secret, place = found
        self.stderr.write(f"from {place}")
        self.stdout.write(secret)

    def _check(self) -> None:
        try:
            id_secret.require()
        except id_secret.IdSecretWrong as error:
            raise CommandError(error.advice) from None
        self.stdout.write("The secret of the settings is that of this database.")
