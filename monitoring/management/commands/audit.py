"""`manage.py audit verify|head|list|export`: the audit log from a shell."""

import contextlib
import csv
import os
from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import UTC, datetime, time
from io import TextIOBase
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime

from monitoring.audit import reviews
from monitoring.audit.csv_cells import cell
from monitoring.audit.hash_chain import ChainHead, Entry
from monitoring.models import Review


class Command(BaseCommand):
    help = "List, export and verify decisions. They are append-only, and each contains the hash of the one before."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verify = verbs.add_parser("verify", help="Check the whole chain. Exits with 1 if someone changed it.")
        verify.add_argument(
            "--head", help="The text that `audit head` printed earlier, or its hash. It must still be in the chain."
        )
        verbs.add_parser("head", help="Print the end of the chain with a signature. Keep it on another machine.")
        listed = verbs.add_parser("list", help="List decisions, newest first.")
        listed.add_argument("--action", choices=Review.Action.values)
        listed.add_argument("--since", type=_moment, help="A date or a time (RFC 3339, in UTC if it has no zone).")
        listed.add_argument("--limit", type=int, default=50, help="Largest number of decisions, up to 1000 (50).")
        export = verbs.add_parser("export", help="Write all decisions as CSV, oldest first.")
        export.add_argument("file", metavar="FILE.csv", help="The file, replaced when complete. - is the terminal.")

    def handle(self, *, verb: str, **options: Any) -> None:
        getattr(self, f"_{verb}")(**options)

    def _verify(self, *, head: str | None, **_: Any) -> None:
        kept, kept_hash = _kept(head)
        report = reviews.verify_chain(kept=kept, kept_hash=kept_hash)
        for problem in report.problems:
            self.stdout.write(f"{problem.id}  {problem.kind}: {problem.message}")
        if not report.is_intact:
            untold = report.n_problems - len(report.problems)
            more = f" ({untold} more not listed)" if untold else ""
            raise CommandError(f"NOT INTACT: {report.n_problems} problem(s) in {report.n_rows} decision(s){more}.")
        self.stdout.write(f"Intact: {report.n_rows} decision(s), the last {report.head.id}:{report.head.hash}")

    def _head(self, **_: Any) -> None:
        self.stdout.write(reviews.head().signed())

    def _list(self, *, action: str | None, since: datetime | None, limit: int, **_: Any) -> None:
        for row in reviews.list_reviews(action=action or "", since=since, limit=limit):
            scope = f" [{row.scope}]" if row.scope else ""
            note = " ".join(row.note.split())
            self.stdout.write(f"{row.id:6} {row.at:%F %T} {row.action:8} {row.by}{scope}: {note}")

    def _export(self, *, file: str, **_: Any) -> None:
        with self._replacing(file) as out, reviews.stream() as rows:
            sheet = csv.writer(out, lineterminator="\n")
            sheet.writerow(Entry._fields)
            n_rows = 0
            for row in rows:
                sheet.writerow([cell(value) for value in row])
                n_rows += 1
        if file != "-":
            self.stdout.write(f"{n_rows} decision(s) in {file}")

    @contextlib.contextmanager
    def _replacing(self, file: str) -> Iterator[TextIOBase]:
        if file == "-":
            yield self.stdout
            return
        path = Path(file)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("x", encoding="utf-8", newline="") as out:
                yield out
            draft.replace(path)
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}.") from None
        finally:
            draft.unlink(missing_ok=True)


def _kept(text: str | None) -> tuple[ChainHead | None, str]:
    if not text:
        return None, ""
    if ":" not in text:
        if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
            raise CommandError("--head takes the text that `audit head` printed, or the 64 hexadecimal digits in it.")
        return None, text
    try:
        return ChainHead.parse(text), ""
    except ValueError as error:
        raise CommandError(f"--head: {error}.") from None


def _moment(text: str) -> datetime:
    try:
        day = parse_date(text)
        moment = datetime.combine(day, time.min) if day else parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ArgumentTypeError(f"{text!r} is not a date (2026-01-31) or a time (2026-01-31T12:00Z)")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
