"""`manage.py sweep FILE`: try values of a setting on a log.

It weighs how soon stories are found against how little attacks move the list.
"""

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
        "Replay a log with several values of a setting, and recommend one. It measures which value finds stories"
        " soonest, and which is least moved by attacks."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_file_arguments(parser)
        parser.add_argument(
            "--over",
            type=setting,
            default=(SERVED_HALF_LIFE, [str(value) for value in sweep.HALF_LIVES_S]),
            metavar="SETTING=VALUE,VALUE",
            help="A setting of the Config and its values, for example trust.floor=0.05,0.2. Default: half-lives.",
        )
        parser.add_argument("--beside", type=int, help="Values to try in one pass, to bound memory. Default: all.")

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
