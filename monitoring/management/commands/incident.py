"""`manage.py incident`: an attack that passes the screen, and the revert after it.

It runs on servers of its own.
"""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import IO, Any, cast

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from monitoring.rehearsals.incident import Incident, IncidentPlan, Moment
from recommender.log import event_log
from recommender.log.partitions import ensure_partitions
from recommender.models import Learner

# The defence is weak and the learner is fast, so that three days pass in a minute.
ENVIRONMENT = {
    "HALF_LIVES_S": "300,3600,21600",
    "SCREEN": "false",
    "PUBLISH_EVERY_S": "0",
    "CHECKPOINT_EVERY_S": "0",
    "WATCH_EVERY_S": "0",
    "LAG_ALARM_S": "1e9",
    "AUTO_FREEZE": "true",
    "AUTO_THAW": "true",
    "AUTO_REVERT": "false",
    "LOG_LEVEL": "ERROR",
    "ALERT_WEBHOOK_URL": "",
    "ALERT_EMAILS": "",
}


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Rehearse an incident: flood, alarm, freeze, revert without the attackers, thaw. Exits with 1 if it fails."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--readers", type=int, default=IncidentPlan().n_readers, help="Number of honest readers.")
        parser.add_argument(
            "--accounts", type=int, default=IncidentPlan().n_accounts, help="Number of the attackers' accounts."
        )
        parser.add_argument("--seed", type=int, default=IncidentPlan().seed)
        parser.add_argument("--here", action="store_true", help="Use the configured servers, which must be empty.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["here"]:
            sys.exit(self._elsewhere(options))
        call_command("migrate", verbosity=0)
        if Learner.objects.exists() or event_log.last_seq():
            raise CommandError("This database holds events. Leave out --here to use servers of its own.")
        began_at = time.monotonic()
        for days in range(0, 5):  # partitions for the days of the stream
            ensure_partitions(today=datetime.fromtimestamp(time.time() - 86_400 * days, UTC).date())
        plan = IncidentPlan(n_readers=options["readers"], n_accounts=options["accounts"], seed=options["seed"])
        incident = Incident(plan, lambda moment: self._progress(began_at, moment))
        n_honest, n_attack = len(incident.honest), len(incident.attack)
        self._line(f"{n_honest:,} events of honest readers, {n_attack:,} of {plan.n_accounts:,} attackers")
        story = incident.run()
        console = Console(file=cast(IO[str], self.stdout), width=None if self.stdout.isatty() else 150)
        table = Table("stream time", "step", "what", "honest clicks on the list", "digest", "decision")
        for moment in story.moments:
            table.add_row(
                f"{datetime.fromtimestamp(moment.stream_ms / 1000, UTC):%d %H:%M:%S}",
                str(moment.step),
                moment.what,
                "" if moment.hit_rate is None else f"{moment.hit_rate:.3f}",
                moment.digest[:12],
                "" if moment.review is None else str(moment.review),
            )
        console.print(table)
        for what, is_so in story.checks:
            self._line(f"{'yes' if is_so else 'NO ':3}  {what}")
        self._line(f"{time.monotonic() - began_at:.0f} s")
        if not story.holds:
            raise CommandError("The rehearsal failed: see the lines with NO above.")

    def _elsewhere(self, options: dict[str, Any]) -> int:
        named = [f"--{name}={options[name]}" for name in ("readers", "accounts", "seed")]
        python = [sys.executable, "-m"]
        command = [*python, "config.supervisor", "exec", "--", *python, "django", "incident"]
        env = {name: value for name, value in os.environ.items() if name not in _SERVERS} | ENVIRONMENT
        done = subprocess.run([*command, "--here", *named], cwd=settings.BASE_DIR, env=env, check=False)  # noqa: S603
        return done.returncode

    def _progress(self, began_at: float, moment: Moment) -> None:
        self.stderr.write(f"{time.monotonic() - began_at:5.0f} s  {moment.what}")

    def _line(self, text: str) -> None:
        self.stdout.write(text)


_SERVERS = ("DATABASE_URL", "BROKER_URL", "VIEW_URL")
