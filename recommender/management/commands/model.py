"""`manage.py model rebuild`: learn the whole log again, as the settings are now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender import learner
from recommender.models import Learner
from recommender.refold import LogIncomplete


class Command(BaseCommand):
    help = "Act on the model as a whole."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("rebuild", help="Fold the whole log again, e.g. after a change of half-lives.")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        for row in Learner.objects.order_by("shard"):
            try:
                checkpoint = learner.rebuild(row)
            except LogIncomplete as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"shard {row.shard} goes on from {checkpoint}, digest {checkpoint.digest}")
