"""`manage.py alerts test|list`: test the delivery of messages, and list them."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.alerts import outbox
from monitoring.models import Notification
from recommender.upkeep.job_failures import PartsFailed


class Command(BaseCommand):
    help = "Test the webhook and the mail, and list the last messages."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("test", help="Send a test message now, by every configured channel.")
        listed = verbs.add_parser("list", help="List the last messages, newest first.")
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
        event_id = outbox.notify(kind="test", title="A test message. Messages arrive.", is_urgent=True)
        if event_id is None:
            raise CommandError(
                "No channel is configured. Set ALERT_WEBHOOK_URL or ALERT_EMAILS (docs/reference/settings.md)."
            )
        try:
            outbox.deliver()
        except PartsFailed as error:
            self.stderr.write(str(error))
        rows = list(Notification.objects.filter(event_id=event_id))
        for row in rows:
            self._tell(row)
        if any(row.state != Notification.State.SENT for row in rows):
            raise CommandError("The message is not delivered yet. Groundswell will try again.")

    def _tell(self, row: Notification) -> None:
        error = f" ({row.last_error})" if row.last_error else ""
        self.stdout.write(
            f"{row.created_at:%F %T} {row.channel:7} {row.state:7} {row.attempts} tries  {row.title}{error}"
        )
