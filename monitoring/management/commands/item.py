"""`manage.py item hide|show|list`: the operators' word about items."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from monitoring.management.shell import refusals_told, shell_account
from monitoring.operations import hide_item
from recommender.intake import hidden_items


class Command(BaseCommand):
    help = "Hide an item from every list, show it again, or list the items that operators hide."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        hide = verbs.add_parser("hide", help="Hide an item until someone shows it, also if the site sends it again.")
        show = verbs.add_parser("show", help="Lift the decision to hide an item.")
        for each in (hide, show):
            each.add_argument("id", help="The item's id, as in its events.")
            each.add_argument("--note", required=True, help="The reason. It is recorded.")
        listed = verbs.add_parser("list", help="List the items that operators hide, the newest decisions first.")
        listed.add_argument("--limit", type=int, default=50)

    def handle(self, *, verb: str, **options: Any) -> None:
        with refusals_told():
            getattr(self, f"_{verb}")(**options)

    def _hide(self, *, id: str, note: str, **_: Any) -> None:
        hide_item.set_hidden(by=shell_account(), note=note, item_id=id, is_hidden=True)
        self.stdout.write(f"{id} is hidden. It leaves every list within a second.")

    def _show(self, *, id: str, note: str, **_: Any) -> None:
        item = hide_item.set_hidden(by=shell_account(), note=note, item_id=id, is_hidden=False)
        told = "No operator hides it any more, but the site does." if item.is_hidden else "It can be listed again."
        self.stdout.write(f"{id}: {told}")

    def _list(self, *, limit: int, **_: Any) -> None:
        for each in hidden_items.list_hidden(limit=limit):
            tried = f"; the site tried {each.n_attempts} times to show it" if each.n_attempts else ""
            self.stdout.write(f"{each.item}  {each.hidden_at:%F %T}  {each.hidden_by}: {each.note}{tried}")
