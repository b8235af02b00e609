"""`manage.py replay FILE`: learn a log online, and measure how well that works."""

from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recommender.core.parquet_log import LogFile, LogFileError
from recommender.core.pipeline import Config
from recommender.lab.replay import replay
from recommender.learning.pipeline_settings import configured


class Command(BaseCommand):
    requires_system_checks = ()  # needs no server and no view
    help = (
        "Run a Parquet log through a fresh Pipeline. Its columns are ts, actor and item, and optionally kind,"
        " occurred_at and country."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--out", type=Path, help="Folder for verdicts.parquet, boards.parquet, summary.json.")
        parser.add_argument("--limit", type=int, help="Largest number of rows to read.")
        parser.add_argument("--exclude-actors", type=Path, help="A file of actors to leave out, one per line.")
        parser.add_argument("--no-screen", action="store_true", help="Admit every event.")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(stderr=True)
        try:
            without = _read_actors(options["exclude_actors"])
            log = LogFile(options["file"], limit=options["limit"], without=without)
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=console) as progress:
                bar = progress.add_task(options["file"].name, total=log.n_rows)
                config = _unkeyed(is_screened=not options["no_screen"])
                _, summary = replay(log, config, out=options["out"], on_progress=lambda n: progress.advance(bar, n))
        except (LogFileError, OSError) as error:
            raise CommandError(str(error)) from error
        if log.unknown_kinds:
            kinds = ", ".join(sorted(log.unknown_kinds))
            self.stderr.write(f"Unknown kinds were counted as clicks: {kinds}.")
        table = Table("ranking", "HR@20", "MRR@20")
        names = {
            "personalised": "for each actor, learned online",
            "trending": "trending, learned online",
            "daily": "yesterday's most read, refreshed daily",
        }
        for name, title in names.items():
            table.add_row(title, f"{summary['hr20'][name]:.3f}", f"{summary['mrr20'][name]:.3f}")
        console.print(table)
        self.stdout.write(f"{summary['events']:,} events, {summary['events_per_s']:,} events/s in Pipeline.step")
        self.stdout.write(f"digest {summary['digest']}")


def _unkeyed(*, is_screened: bool) -> Config:
    """Return the configured Pipeline's Config with unkeyed hashes.

    So a replay's digest is the same on every machine. Every actor's own list is asked for.
    """
    config = configured()
    return replaced(
        config,
        secret="",
        personal_share=1.0,
        screen=replaced(config.screen, is_on=config.screen.is_on and is_screened),
    )


def _read_actors(path: Path | None) -> frozenset[str]:
    return frozenset(path.read_text().splitlines()) if path else frozenset()
