"""Release or confirm the events of a finding, and record the decision with it."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from monitoring.alerts import outbox
from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import Finding, Review
from monitoring.operations.state_digest import state_digest
from recommender.control import learning_switch
from recommender.core.vocabulary import Ruling
from recommender.errors import Conflict, NotFound
from recommender.ids import MAX_ROW_ID
from recommender.log.event_log import Position

MAX_ENTRIES = 200  # most entries of the history that the review of a decision names
Action = Review.Action


def release(
    *,
    by: By,
    note: str,
    finding_id: int | None = None,
    positions: Sequence[Position] = (),
    since_ms: int = 0,
    together: str = "",
) -> int:
    """Let the events of a finding, or those at positions, count at their own times.

    together: a word that all decisions of one form share. Returns the number of events; see `_decide`.
    """
    return _decide(Finding.State.RELEASED, by, note, finding_id, positions, since_ms, together)


def confirm(
    *,
    by: By,
    note: str,
    finding_id: int | None = None,
    positions: Sequence[Position] = (),
    since_ms: int = 0,
    together: str = "",
) -> int:
    """Remove the events as manipulation.

    Returns their number; see `release` and `_decide`.
    """
    return _decide(Finding.State.CONFIRMED, by, note, finding_id, positions, since_ms, together)


def _decide(
    state: str,
    by: By,
    note: str,
    finding_id: int | None,
    positions: Sequence[Position],
    since_ms: int,
    together: str,
) -> int:
    """Decide on a finding or on events, in one transaction.

    1. Lock the finding. Refuse if it has this decision already, or changed since it was read.
    2. Decide on its events.
    3. Record the decision, with the facts that `monitoring.operations.undo_decision` needs.

    The finding gets no new events in the meantime. Raises NotFound, Conflict, Invalid.
    """
    is_release = state == Finding.State.RELEASED
    seen = get_finding(finding_id).state if finding_id is not None else ""
    with transaction.atomic():
        subject: dict[str, Any] = {}
        if finding_id is not None:
            finding = _lock(finding_id, seen, state)
            positions = [Position(*each) for each in finding.events.order_by("id").values_list("xid", "seq")]
            since_ms = finding.first_ms
            subject |= {"finding": finding.pk, "was": seen}
        if together:
            subject["together"] = together[:64]
        ruling = Ruling.RELEASE if is_release else Ruling.CONFIRM
        # it has no events, so the decision only closes it
        is_alarm = finding_id is not None and finding.kind == Finding.Kind.DRIFT
        n_events, entries = 0, []
        for start in range(0, 0 if is_alarm else len(positions) or 1, learning_switch.MAX_DECIDED):
            part = positions[start : start + learning_switch.MAX_DECIDED]
            decided = learning_switch.decide(ruling=ruling, positions=part, since_ms=since_ms)
            n_events += decided.n_events
            entries += decided.entries
        if len(entries) <= MAX_ENTRIES:
            subject["entries"] = entries
        review = reviews.record(
            by=by,
            action=Action.RELEASE if is_release else Action.CONFIRM,
            note=note,
            subject=subject | {"events": n_events},
            before=state_digest(),
        )
        what = f"finding {finding_id}" if finding_id is not None else f"{n_events} events"
        outbox.notify(kind=str(review.action), title=f"{review.by}: {review.action} {what}.", review=review)
    return n_events


def _lock(finding_id: int, seen: str, state: str) -> Finding:
    finding = Finding.objects.select_for_update().filter(pk=finding_id).first()
    if finding is None:
        raise Conflict(f"Finding {finding_id} was just merged into another finding. Reload the page.")
    if finding.state == state or (state == Finding.State.RELEASED and finding.state == Finding.State.EXPIRED):
        raise Conflict(f"Finding {finding_id} is already {finding.state}.")
    if finding.state != seen:
        raise Conflict(f"Finding {finding_id} is now {finding.state}. Look at it again.")
    Finding.objects.filter(pk=finding_id).update(state=state, decided_at=Now(), updated_at=Now())
    return finding


def get_finding(finding_id: int) -> Finding:
    """Return a finding. Raises NotFound."""
    finding = Finding.objects.filter(pk=finding_id).first() if finding_id <= MAX_ROW_ID else None
    if finding is None:
        raise NotFound(f"There is no finding {finding_id}. GET /api/v1/findings lists all findings.")
    return finding
