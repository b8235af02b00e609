"""Check the chain on demand, and keep the result for the audit page.

    check(by=)                ──> rows after the last head that was found intact, CHECKED_ROWS at most ──> ChainCheck
    check(by=, is_full=True)  ──> the same from the first row; the next check does the remaining rows

A check of new rows trusts the rows before them, as an earlier check found them. Only the row where it begins must
still be there. A full check, or `manage.py audit verify`, finds a change in an older row.
"""

import time
from dataclasses import dataclass

from monitoring.audit import reviews
from monitoring.audit.hash_chain import ChainHead
from monitoring.audit.reviews import EMPTY, By
from monitoring.models import ChainCheck

CHECKED_ROWS = 100_000  # most rows of one check, some 3 s


@dataclass(frozen=True, slots=True)
class Verified:
    """The last check, and the number of decisions that are not known to be intact."""

    check: ChainCheck | None
    head: ChainHead
    n_since: int


def check(*, by: By, is_full: bool = False) -> ChainCheck:
    """Check the chain from the last head found intact, or from its beginning.

    It takes 30 us a row.
    """
    by_text, _ = reviews.check_decider(by)
    after = EMPTY if is_full else intact_head()
    began_at = time.perf_counter()
    report = reviews.verify_chain(after=after, limit=CHECKED_ROWS)
    return ChainCheck.objects.create(
        by=by_text,
        after_id=after.id,
        head_id=report.head.id,
        head_hash=report.head.hash,
        n_rows=report.n_rows,
        n_problems=report.n_problems,
        problems=[[each.id, each.message] for each in report.problems],
        took_ms=1000 * (time.perf_counter() - began_at),
    )


def intact_head() -> ChainHead:
    """Return the head up to which the chain is known to be intact.

    This is the head of the last check, unless it found problems.
    """
    last = ChainCheck.objects.order_by("-id").values_list("head_id", "head_hash", "n_problems", "after_id").first()
    if last is None or last[2]:
        return EMPTY
    return ChainHead(last[0], last[1])


def get_verified() -> Verified:
    """Return the facts about the chain for the page, in two indexed reads."""
    head = reviews.head()
    return Verified(ChainCheck.objects.order_by("-id").first(), head, head.id - intact_head().id)


def prune(*, kept: int = 1_000) -> int:
    """Delete all checks but the newest. Returns how many."""
    last = ChainCheck.objects.order_by("-id").values_list("id", flat=True)[kept : kept + 1]
    return ChainCheck.objects.filter(id__lte=last[0]).delete()[0] if last else 0
