"""`manage.py sweep FILE`: settings swept over a log, adaptivity against inertia."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from recommender.batch import charts, sweep
from recommender.batch.challengers import SERVED_HALF_LIFE
from recommender.batch.collect import open_logs
from recommender.management.batch import (
    add_file_arguments,
    config_of,
    progress_told,
    refusals_told,
    setting,
    show,
    write_json,
)


class Command(BaseCommand):
    requires_system_checks = ()  # needs no server and no view
    help = (
        "Replay a log over values of a setting: who finds stories soonest, whom attacks move least; recommends one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_file_arguments(parser)
        parser.add_argument(
            "--over",
            type=setting,
            default=(SERVED_HALF_LIFE, [str(value) for value in sweep.HALF_LIVES_S]),
            metavar="SETTING=VALUE,VALUE",
            help="Which setting, and its values; any of the Config, as in trust.floor=0.05,0.2. Default: half-lives.",
        )
        parser.add_argument("--beside", type=int, help="Values tried in one pass, to bound memory. Default: all.")

    def handle(self, *args: Any, **options: Any) -> None:
        path, values = options["over"]
        with refusals_told(), progress_told() as say:
            files = open_logs.files(options["file"], limit=options["limit"])
            with open_logs.journal_of(files, say=say) as journal:
                found = sweep.sweep(
                    journal,
                    config_of(options),
                    path,
                    values,
                    beside=options["beside"],
                    on_progress=lambda n: say("sweep", n),
                )
            if out := options["out"]:
                write_json(out, "sweep.json", found.as_json())
                charts.draw_sweep(found, out / "sweep.png")
        show(self.stdout, found.table())
        self.stdout.write(f"recommended: {found.path}={found.recommended} (now {found.now})")
