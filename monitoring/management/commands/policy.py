"""`manage.py policy`: rehearse the policy on a recorded log."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.rehearsals import policy_on_a_log
from recommender.core.parquet_log import LogFileError
from recommender.lab.bench.step_speed import real_log
from recommender.learning.pipeline_settings import configured


class Command(BaseCommand):
    requires_system_checks = ()  # it needs none of our servers
    help = "Count how often the policy would freeze on a recorded log, by itself and provoked (A17)."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verb = verbs.add_parser("rehearse", help="Replay a log with the policy.")
        verb.add_argument(
            "file", type=Path, nargs="?", help="A Parquet file. Default: the news log in the data folder."
        )
        verb.add_argument("--limit", type=int, help="Largest number of rows to read.")

    def handle(self, *args: Any, **options: Any) -> None:
        path = options["file"] or real_log()
        if path is None:
            raise CommandError("Name a log, because the news log is not in the data folder.")
        try:
            for name, found in policy_on_a_log.rehearse(
                path, replace(configured(), secret=""), limit=options["limit"]
            ):
                self.stdout.write(orjson.dumps({"run": name} | found).decode())
                self.stdout.flush()
        except LogFileError as error:
            raise CommandError(str(error)) from error
