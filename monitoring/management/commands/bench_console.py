"""`manage.py bench_console`: time each page of the console on a full database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

import orjson
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from monitoring.models import Finding
from monitoring.rehearsals import page_times
from monitoring.rehearsals.console_filling import Size, fill
from recommender.lab.bench import results
from recommender.log import event_log

_SERVERS = ("DATABASE_URL", "BROKER_URL", "VIEW_URL", "SECRET_KEY")


class Command(BaseCommand):
    requires_system_checks = ()
    help = (
        "Measure the console's pages with 100,000 findings and a million events in the log. It starts servers of its"
        " own and removes them afterwards. It does not touch a running Groundswell."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--findings", type=int, default=100_000, help="Findings in the queue (100,000).")
        parser.add_argument("--events", type=int, default=1_000_000, help="Events in the log (1,000,000).")
        parser.add_argument("--repeats", type=int, default=20, help="Requests for each page (20).")
        parser.add_argument("--json", type=Path, metavar="FILE", help="Also write the figures to this file.")
        parser.add_argument("--here", action="store_true", help="Use the configured servers, which must be empty.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["findings"] < 1 or options["events"] < 5 * options["findings"]:
            raise CommandError("--findings must be at least 1, and --events at least five times as many.")
        if not options["here"]:
            sys.exit(self._elsewhere(options))
        call_command("migrate", verbosity=0)
        if event_log.last_seq() or Finding.objects.exists():
            raise CommandError("This database holds events. Leave out --here to use servers of its own.")
        console = Console(stderr=True, width=120)
        size = Size(n_events=options["events"], n_findings=options["findings"])
        context = results.machine() | {"commit": results.commit(settings.BASE_DIR)}
        with console.status("filling") as status:
            fill(size, status.update)
            rows = []
            for row in page_times.measure(repeats=options["repeats"]):
                status.update(row.path)
                rows.append(row)
        self._show(rows, size)
        self.stdout.write(", ".join(f"{name} {value}" for name, value in context.items()))
        if options["json"]:
            report = {"machine": context, "events": size.n_events, "findings": size.n_findings}
            report["pages"] = [row.as_json() for row in rows]
            options["json"].write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))

    def _show(self, rows: list[page_times.Timed], size: Size) -> None:
        table = Table(title=f"Pages with {size.n_findings:,} findings and {size.n_events:,} events in the log")
        table.add_column("page", no_wrap=True)
        for name in ("first ms", "median ms", "p95 ms", "queries", "KiB"):
            table.add_column(name, justify="right")
        for row in rows:
            looks = "red" if row.plans else ""
            figures = [f"{1000 * each:.0f}" for each in (row.first_s, row.median_s, row.p95_s)]
            table.add_row(row.path, *figures, str(row.n_queries), f"{row.kib:.0f}", style=looks)
        Console(file=cast(IO[str], self.stdout), width=120).print(table)
        for row in rows:
            for plan in row.plans:
                self.stdout.write(f"\n{row.path}\n{plan}")

    def _elsewhere(self, options: dict[str, Any]) -> int:
        named = [f"--{name}={options[name]}" for name in ("findings", "events", "repeats")]
        if options["json"]:
            named.append(f"--json={options['json'].absolute()}")
        python = [sys.executable, "-m"]
        command = [*python, "config.supervisor", "exec", "--", *python, "django", "bench_console"]
        env = {name: value for name, value in os.environ.items() if name not in _SERVERS} | {"LOG_LEVEL": "ERROR"}
        done = subprocess.run([*command, "--here", *named], cwd=settings.BASE_DIR, env=env, check=False)  # noqa: S603
        return done.returncode
