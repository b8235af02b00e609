"""Decisions by filter, newest first for the audit page, or as lines of a CSV file.

Rows never change. So a list can be read in pieces by id, and no transaction must stay open while someone downloads
it. Only new rows come in the meantime, and those are past the point where the reading began.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any

from django.contrib.postgres.search import SearchVectorField
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from monitoring.audit.csv_cells import cell
from monitoring.audit.hash_chain import Entry
from monitoring.models import Review
from monitoring.text_search import having_words

PAGE = 50
BATCH = 1_000
# A column of the table (migration 0005). The model does not have it, because the model's fields are hashed.
_WORDS = RawSQL("monitoring_review.words", [], output_field=SearchVectorField())
LINKED = ("finding", "checkpoint", "revert", "undo_of")


@dataclass(frozen=True, slots=True)
class Asked:
    """Filters for decisions.

    by: an account or a program, as recorded. text: words in the note.
    """

    action: str = ""
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A decision as the page lists it.

    links: the things in its subject that have a page, in the order of LINKED.
    """

    review: Review
    links: dict[str, int]
    facts: list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class AuditPage:
    rows: list[Listed]
    before: int | None


def list_audit(asked: Asked, *, before: int | None = None) -> AuditPage:
    """Return a page, newest first. `before` continues a list."""
    rows = _filtered(asked)
    if before is not None:
        rows = rows.filter(id__lt=before)
    found = list(rows.order_by("-id")[: PAGE + 1])
    return AuditPage([_listed(each) for each in found[:PAGE]], found[PAGE - 1].pk if len(found) > PAGE else None)


def lines(asked: Asked) -> Iterator[str]:
    """Yield CSV, oldest first, with a batch of rows in each piece."""
    line = StringIO()
    sheet = csv.writer(line, lineterminator="\r\n")
    sheet.writerow(Entry._fields)
    last_id, rows = 0, _filtered(asked).order_by("id")
    while batch := list(rows.filter(id__gt=last_id).values_list(*Entry._fields)[:BATCH]):
        sheet.writerows([cell(value) for value in row] for row in batch)
        last_id = batch[-1][0]
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def _filtered(asked: Asked) -> QuerySet[Review]:
    rows = Review.objects.all()
    if asked.action:
        rows = rows.filter(action=asked.action)
    if asked.by:
        rows = rows.filter(by=asked.by)
    if asked.since:
        rows = rows.filter(at__gte=asked.since)
    if asked.until:
        rows = rows.filter(at__lte=asked.until)
    return having_words(rows.alias(words=_WORDS), asked.text)


def _listed(review: Review) -> Listed:
    subject = review.subject
    links = {name: subject[name] for name in LINKED if isinstance(subject.get(name), int) and subject[name] > 0}
    facts = [(name.replace("_", " "), value) for name, value in sorted(subject.items()) if name not in links]
    return Listed(review, links, facts)
