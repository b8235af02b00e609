"""`manage.py roles add|remove|list`: give accounts a role in the console."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from monitoring import roles
from monitoring.management.shell import refusals_told, shell_account


class Command(BaseCommand):
    help = "Give accounts a role in the console: viewer, reviewer or operator."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Give an account a role, instead of the role it has.")
        add.add_argument("user")
        add.add_argument("role", choices=[*roles.CODENAMES])
        remove = verbs.add_parser("remove", help="Remove an account's role.")
        remove.add_argument("user")
        for verb in (add, remove):
            verb.add_argument("--note", default="", help="The reason, which is recorded.")
        verbs.add_parser("list", help="List the accounts that may use the console.")

    def handle(self, *, verb: str, user: str = "", role: str = "", note: str = "", **_: Any) -> None:
        if verb == "list":
            for account in roles.list_accounts():
                closed = "" if account.is_active else "  (deactivated)"
                self.stdout.write(f"{account.role:10} {account.username}{closed}")
            return
        with refusals_told():
            roles.assign(username=user, role=role, by=shell_account(), note=note)
        self.stdout.write(f"{user}: {role or 'no role'}")
