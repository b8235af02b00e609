"""`manage.py checkpoint list|export|import|verify`: handle the Pipeline's states."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from recommender import ids
from recommender.core import state_versions
from recommender.core.checkpoint import digest, load
from recommender.core.pipeline import Pipeline
from recommender.learning import learner
from recommender.learning.refold import LogIncomplete
from recommender.models import Checkpoint, Learner

MOST_LISTED = 500


class Command(BaseCommand):
    help = "List, export, import and verify checkpoints."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser(
            "list", help="List checkpoints, newest first, with stream time, quality, parent, size and digest."
        )
        export = verbs.add_parser(
            "export", help="Write a checkpoint's bytes to a file, which recommender.core can read."
        )
        export.add_argument("id", type=int)
        export.add_argument("file", type=Path)
        bring = verbs.add_parser("import", help="Start a shard that has learned nothing yet from a file.")
        bring.add_argument("file", type=Path)
        bring.add_argument("--shard", type=int, default=0)
        check = verbs.add_parser("verify", help="Fold the recorded steps again and compare digests.")
        check.add_argument(
            "id", type=int, nargs="?", help="Checkpoint to verify. Default: the active one of every shard."
        )
        check.add_argument(
            "--from", dest="start", type=int, help="Begin the fold at this checkpoint instead of from nothing."
        )

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        {"list": self.list, "export": self.export, "import": self.bring, "verify": self.verify}[verb](options)

    def list(self, options: dict[str, Any]) -> None:
        for each in Checkpoint.objects.defer("data")[:MOST_LISTED]:
            stream_at = f"{datetime.fromtimestamp(each.stream_ms / 1000, UTC):%F %T}" if each.stream_ms else "-"
            quality = f"hr20 {each.hr20:.3f} of {each.n_predicted:,}" if each.n_predicted else "hr20 -"
            parent = f"after {each.parent_id}" if each.parent_id else "no parent"
            self.stdout.write(
                f"{each.pk:>6}  shard {each.shard}  step {each.step:>8}  stream {stream_at:>19}  {quality:<22}  "
                f"{parent:<12}  {'pinned' if each.is_pinned else '':<6}  fold {each.fold_version}  "
                f"{each.n_bytes / 2**20:8.2f} MiB  {each.digest}"
            )

    def export(self, options: dict[str, Any]) -> None:
        checkpoint = _get(options["id"])
        options["file"].write_bytes(checkpoint.data)
        self.stdout.write(f"{checkpoint} is written to {options['file']}, digest {checkpoint.digest}")

    def bring(self, options: dict[str, Any]) -> None:
        try:
            data = options["file"].read_bytes()
            secret = Pipeline.from_bytes(data).config.secret
            state_version = state_versions.fold_version_of(load(data))
        except (OSError, ValueError) as error:  # damaged, or of a newer version
            raise CommandError(f"{options['file']}: {error}") from error
        if secret != ids.secret():
            raise CommandError(
                f"{options['file']} has ids that were hashed with another secret. It would know none of your actors."
                f" `{settings.COMMAND} ids secret` prints the secret where the file was exported: set ID_SECRET to it"
                " and import into a new database."
            )
        row = learner.get_learner(options["shard"])
        with transaction.atomic():
            checkpoint, _ = Checkpoint.objects.get_or_create(
                shard=row.shard,
                step=0,
                digest=digest(data),
                defaults={
                    "xid": 0,
                    "seq": 0,
                    "n_bytes": len(data),
                    "data": data,
                    "fold_version": state_version,
                    "recipe": row.recipe,
                },
            )
            unlearned = Learner.objects.filter(shard=row.shard, step=0, fold_version__lte=state_versions.FOLD_VERSION)
            if not unlearned.update(checkpoint=checkpoint):
                raise CommandError(f"shard {row.shard} has learned already. Import into an empty shard.")
        self.stdout.write(f"shard {row.shard} begins with {checkpoint}, digest {checkpoint.digest}")

    def verify(self, options: dict[str, Any]) -> None:
        if options["id"]:
            checkpoints = [_get(options["id"])]
        else:
            checkpoints = [each.checkpoint for each in Learner.objects.order_by("shard") if each.checkpoint]
        start = _get(options["start"]) if options["start"] else None
        for checkpoint in checkpoints:
            try:
                found = learner.verify(checkpoint, start)
            except (LogIncomplete, ValueError) as error:  # damaged, of another version, or of another history
                raise CommandError(f"{checkpoint}: {error}") from error
            if found != checkpoint.digest:
                raise CommandError(
                    f"{checkpoint} has the digest {checkpoint.digest}, but the log folds to {found}."
                    " Groundswell's state is not the fold of its log: `model rebuild` folds it again."
                )
            self.stdout.write(f"{checkpoint}: the log folds to the same digest, {found}")


def _get(pk: int) -> Checkpoint:
    try:
        return Checkpoint.objects.get(pk=pk)
    except Checkpoint.DoesNotExist:
        raise CommandError(f"there is no checkpoint {pk}. `checkpoint list` shows all.") from None
