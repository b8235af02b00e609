"""`manage.py alerts test|list`: whether messages arrive, and what became of them."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.alerts import outbox
from monitoring.models import Notification


class Command(BaseCommand):
    help = "Try the webhook and the mail, and list the last messages."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("test", help="Send a test message now, by every channel that is configured.")
        listed = verbs.add_parser("list", help="The last messages, newest first.")
        listed.add_argument("--state", choices=Notification.State.values)
        listed.add_argument("--limit", type=int, default=20)

    def handle(self, *, verb: str, state: str | None = None, limit: int = 20, **_: Any) -> None:
        if verb == "test":
            self._test()
            return
        rows = Notification.objects.filter(state=state) if state else Notification.objects.all()
        for row in rows[: max(0, min(limit, 1000))]:
            self._tell(row)

    def _test(self) -> None:
        event_id = outbox.notify(kind="test", title="A test message: it arrived.", is_urgent=True)
        if event_id is None:
            raise CommandError("Nobody is to be told: set ALERT_WEBHOOK_URL or ALERT_EMAILS (docs/settings.md).")
        outbox.deliver()
        rows = list(Notification.objects.filter(event_id=event_id))
        for row in rows:
            self._tell(row)
        if any(row.state != Notification.State.SENT for row in rows):
            raise CommandError("Not delivered yet; it will be tried again.")

    def _tell(self, row: Notification) -> None:
        error = f" ({row.last_error})" if row.last_error else ""
        self.stdout.write(
            f"{row.created_at:%F %T} {row.channel:7} {row.state:7} {row.attempts} tries  {row.title}{error}"
        )
