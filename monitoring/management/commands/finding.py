"""`manage.py finding list|show|release|confirm`: read findings, decide on them."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from monitoring.findings import finding_descriptions
from monitoring.management.shell import refusals_told, shell_account
from monitoring.models import Finding
from monitoring.operations import decide_finding


class Command(BaseCommand):
    help = "List, show, release and confirm findings."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listed = verbs.add_parser("list", help="List findings, newest first.")
        listed.add_argument("--state", choices=Finding.State.values, default="")
        listed.add_argument("--kind", choices=Finding.Kind.values, default="")
        listed.add_argument("--item", default="")
        listed.add_argument("--limit", type=int, default=20)
        show = verbs.add_parser("show", help="Show one finding, its reasons and some of its events.")
        release = verbs.add_parser("release", help="Release it as honest: its events count, each at its own time.")
        confirm = verbs.add_parser("confirm", help="Confirm it as manipulation: its events no longer count.")
        for verb in (show, release, confirm):
            verb.add_argument("id", type=int)
        for verb in (release, confirm):
            verb.add_argument("--note", required=True, help="The reason, which is recorded.")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        with refusals_told():
            getattr(self, f"_{verb}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        asked = {name: options[name] for name in ("state", "kind", "item", "limit")}
        for row in finding_descriptions.list_findings(**asked).rows:
            self._tell(row)

    def _show(self, options: dict[str, Any]) -> None:
        found = finding_descriptions.explain_finding(finding_id=options["id"])
        self._tell(found)
        for each in found["why"]:
            self.stdout.write(f"  {each['reason']}: {each['says']} ({each['events']} events)")
        for each in found["items"]:
            self.stdout.write(
                f"  on {each['item']}: {each['events']} events, {each['first_at']:%F %T} to {each['last_at']:%T}"
            )
        for each in found["evidence"][:5]:
            self.stdout.write(f"  {each['feature']}: more than {each['median']} % of cleared traffic")
        for each in found["newest"][:10]:
            self.stdout.write(
                f"  {each['received_at']:%T} {each['actor']} on {each['item']}: {each['verdict']}"
                f" {','.join(each['reasons'])}"
            )

    def _release(self, options: dict[str, Any]) -> None:
        n = decide_finding.release(by=shell_account(), finding_id=options["id"], note=options["note"])
        self.stdout.write(f"finding {options['id']} released: {n} events")

    def _confirm(self, options: dict[str, Any]) -> None:
        n = decide_finding.confirm(by=shell_account(), finding_id=options["id"], note=options["note"])
        self.stdout.write(f"finding {options['id']} confirmed: {n} events")

    def _tell(self, row: dict[str, Any]) -> None:
        self.stdout.write(f"{row['id']:>6}  {row['state']:9} {row['severity']:6} {row['kind']:11} {row['title']}")
