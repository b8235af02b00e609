"""`manage.py archive`: move old partitions of the log to Parquet."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender import database_clock
from recommender.batch.collect import archive
from recommender.management.batch import moment


class Command(BaseCommand):
    help = "Write the log's partitions that are past retention to ARCHIVE_DIR, then drop those safely written."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--before",
            type=moment,
            help="Archive the days before this one instead, for example 2026-01-31. Afterwards you can only fold the"
            " model again from the steps after that day.",
        )
        parser.add_argument("--keep", action="store_true", help="Write the archives, but drop nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.ARCHIVE_DIR:
            raise CommandError("ARCHIVE_DIR is not set. Set it to the folder for archives.")
        oldest = options["before"] or database_clock.now() - timedelta(days=settings.RETENTION_DAYS)
        try:
            done = archive.leave(oldest.date(), is_drop=not options["keep"])
        except (OSError, archive.ArchiveDiffers) as error:
            raise CommandError(f"The archive could not be finished, and nothing more was dropped: {error}") from error
        for each in done:
            fate = "dropped" if each.is_dropped else "stays in the database"
            self.stdout.write(
                f"{each.path}: {each.n_rows:,} events, {each.n_bytes / 2**20:,.1f} MiB; partition {fate}"
            )
        if not done:
            self.stdout.write(f"no partition is older than {oldest:%F}")
