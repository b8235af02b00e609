"""Record the decisions of people and policy, list them, and verify their chain.

    with transaction.atomic():
        recommender's freeze | thaw | revert | release | confirm | erase
        reviews.record(by=, action=, note=, subject=)          last: it takes the chain's lock until the commit

The mechanism knows no Review. Its caller records one in the same transaction, so that neither exists without the
other. Writers queue at one lock, so ids have no gaps and the chain has no forks (see `monitoring.audit.hash_chain`).
The record comes last, so that the lock is held briefly and always taken after the mechanism's locks. Two callers that
took the locks in different orders would deadlock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection, transaction

from monitoring.audit.hash_chain import GENESIS, MAX_SUBJECT_BYTES, ChainHead, Entry, storable
from monitoring.models import Review
from recommender.errors import Invalid

By: TypeAlias = str | AbstractBaseUser
"""A Django user or its name, or for a program: `policy`, `api:KEY NAME`, `shell:ACCOUNT`."""

POLICY = "policy"
MAX_NOTE = 2000
_NOTE_ASKED = f"Give a reason of 1 to {MAX_NOTE} characters."
EMPTY = ChainHead(0, GENESIS)
MAX_PROBLEMS = 20  # problems that are listed; all are counted
_MACHINES = ("api:", "shell:")
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('monitoring_review chain'))"
_FIELDS = Entry._fields

# -- record -------------------------------------------------------------------------------------------------------


def record(
    *,
    by: By,
    action: str,
    note: str,
    subject: dict[str, Any],
    scope: str = "",
    shard: int | None = None,
    before: str = "",
    after: str = "",
) -> Review:
    """Append a decision to the chain, in the caller's transaction and last in it.

    before, after: digests of the state, 64 hex digits or empty. subject: ids and counts, at most 4 kB, no actors.

    1. Check.
    2. Lock the chain until the commit.
    3. Append.

    Raises Invalid, and TransactionManagementError outside a transaction.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Record a decision in the transaction that carries it out.")
    by_text, user_id = check_decider(by)
    wrong = {}
    if action not in Review.Action.values:
        wrong["action"] = f"Choose one of {', '.join(Review.Action.values)}."
    note = note.strip()
    if not _is_note(note):
        wrong["note"] = _NOTE_ASKED
    if len(scope) > 200 or not _is_text(scope):
        wrong["scope"] = "A scope has at most 200 characters."
    for name, digest in (("before", before), ("after", after)):
        if digest and not _is_digest(digest):
            wrong[name] = "A digest has 64 hexadecimal digits."
    try:
        subject = storable(subject)
    except ValueError as error:
        wrong["subject"] = f"A subject is a JSON object of at most {MAX_SUBJECT_BYTES} bytes, but {error}."
    if wrong:
        raise Invalid(fields=wrong)
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        # This statement comes after the lock's, so that its snapshot includes the commit of the holder before.
        cursor.execute("SELECT clock_timestamp()")
        (at,) = cursor.fetchone()
    last = head()
    entry = Entry(
        id=last.id + 1,
        at=at,
        by=by_text,
        user_id=user_id,
        action=str(action),
        scope=scope,
        shard=shard,
        subject=subject,
        note=note,
        before_digest=before,
        after_digest=after,
        previous_hash=last.hash,
    )
    return Review.objects.create(**entry._replace(hash=entry.digest)._asdict())


def check_decider(by: By) -> tuple[str, int | None]:
    """Return the text and the account that decides.

    Raises Invalid if there is no such account, or if its name is a program's.
    """
    if isinstance(by, str):
        if by == POLICY or (by.startswith(_MACHINES) and by.split(":", 1)[1].strip() and by.isprintable()):
            return by[:200], None
        user = get_user_model().objects.filter(username=by).first() if _is_text(by) else None
        if user is None:
            raise Invalid(fields={"by": f"There is no account {by!r}."})
        by = user
    name = by.get_username()
    if by.pk is None or not name or name == POLICY or name.startswith(_MACHINES):
        raise Invalid(fields={"by": f"The account {name!r} cannot decide, because its name is that of a program."})
    return name, by.pk


def check_note(note: str) -> str:
    """Return a note as it is recorded. Raises Invalid if it is no reason."""
    note = note.strip()
    if not _is_note(note):
        raise Invalid(fields={"note": _NOTE_ASKED})
    return note


def _is_note(note: str) -> bool:
    return 1 <= len(note) <= MAX_NOTE and _is_text(note)


def _is_text(text: str) -> bool:
    """Return True if PostgreSQL can store the text."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


# -- read ---------------------------------------------------------------------------------------------------------


def head() -> ChainHead:
    """Return the end of the chain. Keep its `ChainHead.signed()` somewhere else."""
    newest = Review.objects.order_by("-id").values_list("id", "hash").first()
    return ChainHead(*newest) if newest else EMPTY


def list_reviews(
    *, action: str = "", by: str = "", since: datetime | None = None, before_id: int | None = None, limit: int = 100
) -> list[Review]:
    """List reviews, newest first, at most 1,000. `before_id` continues a list."""
    rows = Review.objects.order_by("-id")
    if action:
        rows = rows.filter(action=action)
    if by:
        rows = rows.filter(by=by)
    if since is not None:
        rows = rows.filter(at__gte=since)
    if before_id is not None:
        rows = rows.filter(id__lt=before_id)
    return list(rows[: max(0, min(limit, 1000))])


@contextmanager
def stream(*, batch: int = 1000, after_id: int = 0, limit: int | None = None) -> Iterator[Iterator[Entry]]:
    """Stream all rows, or `limit` rows after one, oldest first, as of now.

    At most `batch` rows are in memory. The stream is open for the time of the block.
    """
    with transaction.atomic():  # for a server-side cursor, without which the whole table would be copied first
        rows = Review.objects.order_by("id", "hash").values_list(*_FIELDS)
        if after_id:
            rows = rows.filter(id__gt=after_id)
        yield (Entry(*row) for row in rows[:limit].iterator(chunk_size=batch))


# -- verify -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault at a row.

    `kind` is changed, missing, reordered, forked, unlinked or head.
    """

    id: int
    kind: str
    message: str


@dataclass(slots=True)
class ChainReport:
    """The result of a check. `problems` holds the first MAX_PROBLEMS of `n_problems`."""

    n_rows: int = 0
    head: ChainHead = EMPTY
    n_problems: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        return not self.n_problems

    def add(self, id: int, kind: str, message: str) -> None:
        self.n_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(id, kind, message))


def verify_chain(
    *,
    batch: int = 1000,
    kept: ChainHead | None = None,
    kept_hash: str = "",
    after: ChainHead = EMPTY,
    limit: int | None = None,
) -> ChainReport:
    """Read the chain and check each row.

    It needs memory for `batch` rows, and 30 us a row.

    kept: a head from earlier, which must still be at its place. kept_hash: the same, by its hash alone. Without
    either, rows deleted at the end are not noticed.
    after: a head up to which nothing is checked, except that it is still there. limit: most rows to check.
    """
    report = ChainReport(head=after)
    if after.id and not Review.objects.filter(id=after.id, hash=after.hash).exists():
        report.add(after.id, "head", "the row at which an earlier check ended was deleted or changed")
    wanted = {each for each in (kept.hash if kept else "", kept_hash) if each and each != GENESIS}
    with stream(batch=batch, after_id=after.id, limit=limit) as rows:
        for row in rows:
            _compare(row, report.head, report)
            if row.hash in wanted and (kept is None or row.hash != kept.hash or row.id == kept.id):
                wanted.discard(row.hash)
            report.n_rows += 1
            report.head = ChainHead(row.id, row.hash)
    for digest in sorted(wanted):
        at = kept.id if kept and kept.hash == digest else report.head.id
        report.add(at, "head", f"the head {digest[:12]}…, kept earlier, is gone: rows were deleted or changed")
    return report


def _compare(row: Entry, before: ChainHead, report: ChainReport) -> None:
    """Compare a row with the row before it.

    Each fault is reported once, at the first row that shows it.
    """
    if row.digest != row.hash:
        report.add(row.id, "changed", "its hash does not match its contents")
    last_id, last_hash = before.id, before.hash
    if row.id > last_id + 1:
        gone = f"row {last_id + 1} is" if row.id == last_id + 2 else f"rows {last_id + 1} to {row.id - 1} are"
        report.add(last_id + 1, "missing", f"{gone} missing")
        return  # the broken link shows nothing more
    if row.id == last_id:
        report.add(row.id, "forked", "there is more than one row with this number")
        return
    if row.previous_hash == last_hash:
        return
    # The row's own hash is used, so that two rows that changed places are recognised.
    followed = Review.objects.filter(hash=row.previous_hash).values_list("id", flat=True).first()
    if row.previous_hash == GENESIS:
        followed = 0
    if followed is None:
        report.add(row.id, "unlinked", f"the row it followed is gone: row {last_id} was replaced")
    elif Review.objects.filter(previous_hash=row.previous_hash).exclude(id=row.id).exists():
        report.add(row.id, "forked", f"it follows row {followed}, as another row does")
    else:
        report.add(row.id, "reordered", f"according to its hash it follows row {followed}, not row {last_id}")
