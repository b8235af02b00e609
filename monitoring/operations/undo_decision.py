"""Undo a decision on a finding.

The account that decided can do so for ten minutes, if no one decided on the finding since.

    Review (release | confirm: finding, was, entries, together) ──> last(user)   what could be undone now
    undo(review_id)  ──> learning_switch.take_back(entries) ──> the finding as it was ──> Review (undo: undo_of)

**What is exact.** An entry of the history that no step has taken yet is deleted. The state is then bit for bit that
of a model without the decision. While learning is frozen this is always so, otherwise within a fraction of a second.

An entry that a step has taken is part of the history, so Groundswell decides again. Each event gets back the verdict
it had when the decision took effect (`Decision.before`). An event that counted counts again, at its own time. An
event that was held or removed is removed, without evidence against its actor. Some things remain:
- An event that was *held* does not wait any more. It stays removed until someone releases the finding, which is open
  again for that.
- A *confirm* has made the actors known as a cohort. Those with an act that counted are cleared. The others stay known
  until the finding is released.
- A *release* has told the screen not to remove these acts again, and has cleared the evidence against their items.
  Later acts there are judged anew.
- The screen may have let an act count for less than its actor's trust allows. It now counts for all of that.
- Decisions are by actor and item. A confirm may have removed the unit of an act outside the finding. That act comes
  back only if the finding has another act of the same actor on the item that counted.
- Everything that was learned, shown and measured in between stays so.

For an exact undo after that, go back to an earlier checkpoint (`request_revert.revert`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models.functions import Now

from monitoring.alerts import outbox
from monitoring.audit import reviews
from monitoring.models import Finding, Review
from monitoring.operations import state_digest
from recommender import database_clock
from recommender.control import learning_switch
from recommender.errors import Conflict, NotFound

WITHIN = timedelta(minutes=10)
LOOKED_AT = 1_000  # decisions of an account that are read
RULINGS: dict[str, Finding.State] = {
    Review.Action.RELEASE: Finding.State.RELEASED,
    Review.Action.CONFIRM: Finding.State.CONFIRMED,
}
UNDECIDED = (Finding.State.OPEN, Finding.State.EXPIRED)


@dataclass(frozen=True, slots=True)
class Undoable:
    """The decisions of one form, newest review first, all with the same action."""

    reviews: list[int]
    action: str
    findings: list[int]
    at: datetime


def last(user: AbstractBaseUser) -> Undoable | None:
    """Return the last decision of an account that can be undone, in two reads.

    Decisions made by the same form belong to it.
    """
    rows = list(_lately(user).order_by("-id")[:LOOKED_AT])
    undone = _undone(rows)
    candidates = [row for row in rows if row.pk not in undone and _is_undoable(row)]
    stands = dict(Finding.objects.filter(pk__in={_finding(row) for row in candidates}).values_list("pk", "state"))
    newest: dict[int, int] = {}
    for row in candidates:
        newest.setdefault(_finding(row), row.pk)
    candidates = [
        row
        for row in candidates
        if stands.get(_finding(row)) == RULINGS[row.action] and newest[_finding(row)] == row.pk
    ]
    if not candidates:
        return None
    first = candidates[0]
    together = first.subject.get("together")
    same = [row for row in candidates if together and row.subject.get("together") == together] or [first]
    return Undoable([row.pk for row in same], first.action, [_finding(row) for row in same], first.at)


@transaction.atomic
def undo(*, by: AbstractBaseUser, review_id: int) -> Review:
    """Undo one decision.

    1. Lock the finding. Refuse if someone decided on it since.
    2. Take the entries back, and give the finding its old state.
    3. Record the undo.

    Raises NotFound, Conflict.
    """
    review = Review.objects.filter(pk=review_id, user_id=by.pk).first()
    if review is None or not _is_undoable(review):
        raise NotFound(f"You have no decision {review_id} that can be undone.")
    if review.at < database_clock.now() - WITHIN:
        raise Conflict(
            f"Decision {review_id} is older than {WITHIN.seconds // 60} minutes and cannot be undone. Decide again."
        )
    number, was = _finding(review), review.subject["was"]
    finding = Finding.objects.select_for_update().filter(pk=number).first()
    if finding is None:
        raise Conflict(f"Finding {number} no longer exists.")
    since = list(Review.objects.filter(id__gt=review_id, subject__finding=number))
    undone = _undone(since)
    if review_id in undone:
        raise Conflict(f"Decision {review_id} is already undone.")
    is_last = all(row.pk in undone for row in since if row.action in RULINGS)
    if finding.state != RULINGS[review.action] or not is_last:
        raise Conflict(f"Finding {number} was decided on again since. Decide again instead.")
    taken = learning_switch.take_back(review.subject["entries"])
    decided_at = None if was in UNDECIDED else finding.decided_at
    is_stale = finding.kind != Finding.Kind.DRIFT
    Finding.objects.filter(pk=number).update(state=was, decided_at=decided_at, is_stale=is_stale, updated_at=Now())
    subject: dict[str, Any] = {
        "finding": number,
        "undo_of": review_id,
        "withdrawn": taken.n_withdrawn,
        "given_back": taken.n_given_back,
    }
    note = f"Undo of review {review_id}: {review.action} finding {number}."
    written = reviews.record(
        by=by, action=Review.Action.UNDO, note=note, subject=subject, before=state_digest.state_digest()
    )
    outbox.notify(kind="undo", title=f"{written.by}: {note}", review=written)
    return written


def _lately(user: AbstractBaseUser) -> Any:
    since = database_clock.now() - WITHIN
    return Review.objects.filter(user_id=user.pk, at__gte=since, action__in=[*RULINGS, Review.Action.UNDO])


def _undone(rows: Iterable[Review]) -> set[int]:
    return {row.subject["undo_of"] for row in rows if row.action == Review.Action.UNDO}


def _is_undoable(row: Review) -> bool:
    return row.action in RULINGS and {"finding", "was", "entries"} <= row.subject.keys()


def _finding(row: Review) -> int:
    return int(row.subject["finding"])
