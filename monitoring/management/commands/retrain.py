"""`manage.py retrain`: test challengers against the model, and keep the winner."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.management.shell import shell_account
from monitoring.operations import run_trial
from recommender.batch import retrain
from recommender.management.batch import moment, progress_told, refusals_told, setting, show, write_json


class Command(BaseCommand):
    help = (
        "Collect and merge events from the log, the archives and files. Test challengers against the model that"
        " learns, on clean and on attacked data. Keep the winner's state ready if it is better by the margin."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--files", type=Path, nargs="+", default=[], help="Parquet, CSV, or folders of them.")
        parser.add_argument(
            "--since", type=moment, help="Use events since this time, for example 2026-01-31. Default: all."
        )
        parser.add_argument("--promote", choices=("auto", "ask", "never"), default=settings.RETRAIN_PROMOTE)
        parser.add_argument("--margin", type=float, default=settings.RETRAIN_MARGIN, help="Margin of HR@20 (0.005).")
        parser.add_argument(
            "--memory-mb",
            type=int,
            default=settings.RETRAIN_MEMORY_MB,
            help="Memory limit of the whole process, MiB (4096).",
        )
        parser.add_argument(
            "--try",
            dest="wanted",
            type=setting,
            action="append",
            default=[],
            metavar="SETTING=VALUE,VALUE",
            help="Challengers instead of the usual ones, as in half_lives_s.0=150,600. May be repeated.",
        )
        parser.add_argument("--no-yardstick", action="store_true", help="Fit no factorisation for comparison.")
        parser.add_argument("--work", type=Path, help="Folder for the merged log. Default: the temporary folder.")
        parser.add_argument("--out", type=Path, help="Folder for the table as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with refusals_told(), progress_told() as say:
                report, trial = run_trial.hold(
                    by=shell_account(),
                    promote=options["promote"],
                    margin=options["margin"],
                    memory_mb=options["memory_mb"],
                    paths=options["files"],
                    since=options["since"],
                    wanted=options["wanted"],
                    folder=options["work"],
                    with_yardstick=not options["no_yardstick"],
                    say=say,
                )
        except retrain.RetrainUnderWay as error:
            raise CommandError(str(error)) from error
        if options["out"]:
            write_json(options["out"], "retrain.json", report.as_json())
        show(self.stdout, report.table())
        for row in report.rows:
            if row.note:
                self.stdout.write(f"{row.name}: {row.note}")
        self.stdout.write(f"{trial}. {report.reason}")
        if why := trial.report.get("error"):
            self.stdout.write(f"The winner's state is not kept: {why}")
        if trial.state == trial.State.WAITING:
            self.stdout.write(f"Learn on from the winner: `{settings.COMMAND} model promote {trial.pk} --note ...`")
        self.stdout.write(f"peak memory {retrain.peak_bytes() / 2**20:,.0f} of {options['memory_mb']:,} MiB")
