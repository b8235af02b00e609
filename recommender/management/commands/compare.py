"""`manage.py compare FILE`: compare batch and online learning on one log."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from recommender.batch import charts, compare
from recommender.batch.collect import open_logs
from recommender.management.batch import (
    add_file_arguments,
    config_of,
    progress_told,
    refusals_told,
    show,
    write_json,
)


class Command(BaseCommand):
    requires_system_checks = ()  # needs no server and no view
    help = (
        "Compare daily batch, hourly batch and online learning on a log: how often each is right, and how soon each"
        " lists a new story."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_file_arguments(parser)
        parser.add_argument(
            "--stories", type=int, default=20, help="Number of stories to follow, the largest first (20)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with refusals_told(), progress_told() as say:
            files = open_logs.files(options["file"], limit=options["limit"])
            with open_logs.journal_of(files, say=say) as journal:
                found = compare.compare(
                    journal,
                    config_of(options),
                    largest=options["stories"],
                    on_progress=lambda n: say("compare", n),
                )
            if out := options["out"]:
                write_json(out, "compare.json", found.as_json())
                charts.draw_story(found, out / "story.png")
                charts.draw_hours(found, out / "hours.png")
        show(self.stdout, found.table())
