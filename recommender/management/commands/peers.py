"""`manage.py peers FILE`: Groundswell's and well-known rankings on one log.

All are asked the same questions.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender.batch import rankings
from recommender.core.config import KIND_WEIGHTS
from recommender.core.parquet_log import LogFile
from recommender.management.batch import config_of, progress_told, refusals_told, show, write_json


class Command(BaseCommand):
    requires_system_checks = ()  # needs no server and no view
    help = (
        "Compare how often Groundswell's rankings and well-known ones are right on a log. The log is Parquet with ts,"
        " actor and item, sorted by ts."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--limit", type=int, help="Largest number of rows to read.")
        parser.add_argument("--every", type=int, default=10, help="Ask about every n-th first act (10).")
        parser.add_argument("--rankings", default="all", help=f"Any of {', '.join(rankings.TITLES)}, or all.")
        parser.add_argument(
            "--half-lives", help="Half-lives in seconds, the served one first. Default: the configured ones."
        )
        parser.add_argument("--link-half-life", type=int, help="Half-life of links between items, in seconds.")
        parser.add_argument("--horizon", type=int, help="Seconds within which an actor's acts on an item count once.")
        parser.add_argument("--no-screen", action="store_true", help="Admit every event.")
        parser.add_argument("--out", type=Path, help="Folder for peers.json.")

    def handle(self, *args: Any, **options: Any) -> None:
        names = rankings.available() if options["rankings"] == "all" else options["rankings"].split(",")
        if missing := set(names) & rankings.OPTIONAL - set(rankings.available()):
            raise CommandError(
                f"{', '.join(sorted(missing))} cannot run without the extra `batch`: pip install implicit==0.7.3"
            )
        with refusals_told(), progress_told() as say:
            config = config_of(options)
            if options["half_lives"]:
                half_lives_s = tuple(int(each) for each in options["half_lives"].split(","))
                config = replace(config, half_lives_s=half_lives_s)
            if options["link_half_life"]:
                config = replace(config, affinity=replace(config.affinity, half_life_s=options["link_half_life"]))
            if options["horizon"]:
                config = replace(config, horizon_s=options["horizon"])
            # only `rankings` asks the Pipeline here
            config = replace(config, personal_share=0.0)
            rows = _acts(options["file"], options["limit"])
            found = rankings.measure(
                rows, config, names, every=options["every"], on_progress=lambda n: say(options["file"].name, n)
            )
            if out := options["out"]:
                write_json(out, "peers.json", found.as_json())
        show(self.stdout, found.table())


def _acts(path: Path, limit: int | None) -> pl.DataFrame:
    """Return the rows that are acts, without exposures and undos.

    Raises LogFileError.
    """
    LogFile(path)  # checks that it is a log
    frame = pl.scan_parquet(path)
    if "kind" in frame.collect_schema():
        silent = [kind for kind, weight in KIND_WEIGHTS.items() if not weight or kind == "undo"]
        frame = frame.filter(~pl.col("kind").cast(pl.String).is_in(silent))
    acts = frame.select("ts", pl.col("actor", "item").cast(pl.String))
    return (acts if limit is None else acts.head(limit)).collect()
