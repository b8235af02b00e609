"""`manage.py checkpoint list|export|import|verify`: handle the Pipeline's states."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from recommender import ids
from recommender.core import checkpoint_reader, state_versions
from recommender.core.checkpoint import CheckpointCorrupt, write_file
from recommender.core.pipeline import Pipeline
from recommender.learning import fresh_fold, learner
from recommender.learning.checkpoints import piece_table, state_writer
from recommender.learning.checkpoints.object_store import StoreUnavailable
from recommender.learning.checkpoints.state_reader import digest_of, open_pieces
from recommender.learning.refold import LogIncomplete
from recommender.log.event_log import Position
from recommender.models import STATE_COLUMNS, Checkpoint, Learner

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
        for each in Checkpoint.objects.defer(*STATE_COLUMNS)[:MOST_LISTED]:
            stream_at = f"{datetime.fromtimestamp(each.stream_ms / 1000, UTC):%F %T}" if each.stream_ms else "-"
            quality = f"hr20 {each.hr20:.3f} of {each.n_predicted:,}" if each.n_predicted else "hr20 -"
            parent = f"after {each.parent_id}" if each.parent_id else "no parent"
            self.stdout.write(
                f"{each.pk:>6}  shard {each.shard}  step {each.step:>8}  stream {stream_at:>19}  {quality:<22}  "
                f"{parent:<12}  {'pinned' if each.is_pinned else '':<6}  fold {each.fold_version}  "
                f"{each.n_bytes / 2**20:8.2f} MiB  {_unchanged(each):<14}  {each.digest}"
            )
        self.stdout.write(f"All pieces, each counted once: {piece_table.get_stored_bytes() / 2**20:.2f} MiB")
        for row in Learner.objects.exclude(checkpoint_error="").order_by("shard"):
            self.stdout.write(
                f"shard {row.shard} could not write a checkpoint since {row.checkpoint_failed_at:%F %T}:"
                f" {row.checkpoint_error}"
            )

    def export(self, options: dict[str, Any]) -> None:
        checkpoint = _get(options["id"])
        try:
            header, get = open_pieces(checkpoint)
            with _replaced(options["file"]) as file:
                write_file(file, header, get)
        except (OSError, CheckpointCorrupt, StoreUnavailable) as error:
            raise CommandError(f"{checkpoint}: {error}") from error
        self.stdout.write(f"{checkpoint} is written to {options['file']}, digest {header.digest}")

    def bring(self, options: dict[str, Any]) -> None:
        try:
            with options["file"].open("rb") as file:
                pipeline = _read(file)
        except (OSError, ValueError) as error:  # damaged, or of a newer version
            raise CommandError(f"{options['file']}: {error}") from error
        if pipeline.config.secret != ids.secret():
            raise CommandError(
                f"{options['file']} has ids that were hashed with another secret. It would know none of your actors."
                f" `{settings.COMMAND} ids secret` prints the secret where the file was exported: set ID_SECRET to it"
                " and import into a new database."
            )
        row = learner.get_learner(options["shard"])
        try:
            columns = state_writer.keep(pipeline)
        except StoreUnavailable as error:
            raise CommandError(str(error)) from error
        with transaction.atomic():
            checkpoint = state_writer.name_checkpoint(columns, row.shard, 0, Position(), row.recipe, None)
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
                expected = digest_of(checkpoint)
                found = fresh_fold.verify(checkpoint, start)
            except (LogIncomplete, StoreUnavailable, ValueError) as error:  # damaged, another version or history
                raise CommandError(f"{checkpoint}: {error}") from error
            if found != expected:
                raise CommandError(
                    f"{checkpoint} has the digest {expected}, but the log folds to {found}."
                    " Groundswell's state is not the fold of its log: `model rebuild` folds it again."
                )
            self.stdout.write(f"{checkpoint}: the log folds to the same digest, {found}")


def _unchanged(row: Checkpoint) -> str:
    share = row.share_unchanged
    return "unchanged -" if share is None else f"unchanged {share:.0%}"


def _read(file: BinaryIO) -> Pipeline:
    """Read a Pipeline from a file of this format or of the one before.

    Raises ValueError.
    """
    is_old = file.read(len(checkpoint_reader.OLD_MAGIC)) == checkpoint_reader.OLD_MAGIC
    file.seek(0)
    if is_old:
        return Pipeline.from_bytes(file.read())
    header, get = checkpoint_reader.open_file(file)
    checkpoint_reader.check(header, get)
    return Pipeline.from_state(checkpoint_reader.read(header, get))


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` only when it is complete."""
    draft = path.with_name(f"{path.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _get(pk: int) -> Checkpoint:
    try:
        return Checkpoint.objects.get(pk=pk)
    except Checkpoint.DoesNotExist:
        raise CommandError(f"there is no checkpoint {pk}. `checkpoint list` shows all.") from None
