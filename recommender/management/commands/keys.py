"""`manage.py keys make|list|revoke`: handle API keys from a shell."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender.api import api_keys
from recommender.errors import ApiError
from recommender.models import ApiKey


class Command(BaseCommand):
    help = "Make, list and revoke API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        make = verbs.add_parser("make", help="Make a key. It is printed once, and only its hash is kept.")
        make.add_argument("name", help="The program or team that will use the key.")
        make.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=ApiKey.Scope.values,
            help="A right of the key. Repeat it for several.",
        )
        make.add_argument("--rate", type=int, help="Events (ingest) or requests per second. Default: no limit.")
        make.add_argument("--key", help="Use this key instead of a random one.")
        verbs.add_parser("list", help="List all keys, newest first.")
        revoke = verbs.add_parser("revoke", help="Revoke the keys with this name, or the key that starts with this.")
        revoke.add_argument("key", metavar="NAME|START")

    def handle(self, *, verb: str, **options: Any) -> None:
        try:
            getattr(self, f"_{verb}")(**options)
        except ApiError as error:
            raise CommandError(" ".join([error.message, *map(str, error.fields.values())])) from None

    def _make(self, *, name: str, scope: list[str], rate: int | None, key: str | None, **_: Any) -> None:
        secret = api_keys.make_key(name=name, scopes=scope, rate_per_s=rate, secret=key)[1]
        self.stdout.write(secret)

    def _list(self, **_: Any) -> None:
        for key in api_keys.list_keys():
            rate = f"{key.rate_per_s}/s" if key.rate_per_s else "no limit"
            state = f"revoked {key.revoked_at:%F %T}" if key.revoked_at else "in use"
            self.stdout.write(
                f"{key.start + '…':13} {','.join(key.scopes):18} {rate:10} {key.created_at:%F} {state:27} {key.name}"
            )

    def _revoke(self, *, key: str, **_: Any) -> None:
        for row in api_keys.revoke_key(key=key):
            self.stdout.write(f"revoked {row}")
