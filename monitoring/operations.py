"""What people, policy and machines do to the model: each does it and writes it down in one transaction.

    with transaction.atomic():
        recommender.control   the mechanism; Conflict where somebody was first, and then nothing is written
        reviews.record        who, when, what about, why, the state's digest before
        notify.notify         whoever is to be told

What takes its time, a revert or a promotion, is in `monitoring.reverting`. Reviews name findings, checkpoints,
exclusions and numbers, never the actors behind them. Who may is the caller's to see to: keys by scope
(monitoring.views), accounts by role (monitoring.roles).
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from monitoring import notify, policy, reviews
from monitoring.models import Finding, Review
from monitoring.reviews import By
from recommender import control
from recommender.core import decisions
from recommender.errors import Conflict, NotFound
from recommender.log import Position
from recommender.models import Checkpoint, FrozenScope, Learner

MAX_ENTRIES = 200  # of the history, named in the review of a decision
Action = Review.Action


# -- stop and go ----------------------------------------------------------------------------------------------------


@transaction.atomic
def freeze(*, by: By, note: str, scope: str = "") -> Review:
    """Stop learning between two steps, while events are accepted and wait; of a scope, let its list stand still. What
    the policy froze is taken on: it does not end by itself any more. Raises Conflict where a person froze it,
    Invalid, NotFound."""
    before = state_digest()
    subject: dict[str, Any] = {}
    if scope:
        control.freeze_scope(scope)
    elif n_taken_on := policy.take_over():
        subject["taken_on"] = n_taken_on
        with suppress(Conflict), transaction.atomic():
            control.freeze()  # the other shards
    else:
        control.freeze()
    review = reviews.record(by=by, action=Action.FREEZE, note=note, subject=subject, scope=scope, before=before)
    what = f"The list {scope}" if scope else "Learning"
    notify.notify(kind="freeze", title=f"{what} was stopped by {review.by}.", review=review)
    return review


@transaction.atomic
def thaw(*, by: By, note: str, scope: str = "") -> Review:
    """Learn again, what waited first; of a scope, let its list be as counted. Raises Conflict where it is not frozen,
    Invalid."""
    before = state_digest()
    rows = FrozenScope.objects.filter(scope=scope) if scope else Learner.objects.order_by("shard")
    frozen_at = rows.values_list("frozen_at", flat=True).first()
    if scope:
        control.thaw_scope(scope)
    else:
        control.thaw()
    frozen_s = int((datetime.now(UTC) - frozen_at).total_seconds()) if frozen_at else 0
    subject: dict[str, Any] = {"frozen_s": frozen_s}
    if not scope and (n_settled := policy.settle(state=Finding.State.RELEASED)):
        subject["alarms_settled"] = n_settled
    review = reviews.record(by=by, action=Action.THAW, note=note, subject=subject, scope=scope, before=before)
    what = f"The list {scope}" if scope else "Learning"
    notify.notify(kind="thaw", title=f"{what} goes on, by {review.by}.", review=review)
    return review


@transaction.atomic
def set_pinned(*, by: By, note: str, checkpoint_id: int, is_pinned: bool) -> Checkpoint:
    """Keep a checkpoint whatever its age, or no more. Raises NotFound, Conflict, Invalid."""
    checkpoint = control.pin(checkpoint_id=checkpoint_id, is_pinned=is_pinned)
    reviews.record(
        by=by,
        action=Action.PIN,
        note=note,
        subject={"checkpoint": checkpoint.pk, "is_pinned": is_pinned},
        shard=checkpoint.shard,
        before=checkpoint.digest,
        after=checkpoint.digest,
    )
    return checkpoint


# -- the word of people ---------------------------------------------------------------------------------------------


def release(
    *,
    by: By,
    note: str,
    finding_id: int | None = None,
    positions: Sequence[Position] = (),
    since_ms: int = 0,
    together: str = "",
) -> int:
    """Let a finding's events, or those at positions, count at their own times. `together`: a word that decisions made
    by one form share. Returns how many; see `_decide`."""
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
    """Let them count no more: they are manipulation. Returns how many; see `release` and `_decide`."""
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
    """1. Lock the finding; refuse where it is decided so, or changed since it was looked at. 2. Decide on its events.
    3. Record, with what `monitoring.undoing` needs. The finding gets no new events meanwhile. Raises NotFound,
    Conflict, Invalid."""
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
        ruling = decisions.Ruling.RELEASE if is_release else decisions.Ruling.CONFIRM
        is_alarm = finding_id is not None and finding.kind == Finding.Kind.DRIFT  # without events: settled, no more
        n_events, entries = 0, []
        for start in range(0, 0 if is_alarm else len(positions) or 1, control.MAX_DECIDED):
            part = positions[start : start + control.MAX_DECIDED]
            decided = control.decide(ruling=ruling, positions=part, since_ms=since_ms)
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
        notify.notify(kind=str(review.action), title=f"{review.by}: {review.action} {what}.", review=review)
    return n_events


def _lock(finding_id: int, seen: str, state: str) -> Finding:
    finding = Finding.objects.select_for_update().filter(pk=finding_id).first()
    if finding is None:
        raise Conflict(f"Finding {finding_id} has just become part of another; look again.")
    if finding.state == state or (state == Finding.State.RELEASED and finding.state == Finding.State.EXPIRED):
        raise Conflict(f"Finding {finding_id} is {finding.state} already.")
    if finding.state != seen:
        raise Conflict(f"Finding {finding_id} has just been {finding.state}; look again.")
    Finding.objects.filter(pk=finding_id).update(state=state, decided_at=Now(), updated_at=Now())
    return finding


def get_finding(finding_id: int) -> Finding:
    """Raises NotFound."""
    finding = Finding.objects.filter(pk=finding_id).first() if finding_id < 2**63 else None
    if finding is None:
        raise NotFound(f"There is no finding {finding_id}; GET /api/v1/findings lists them.")
    return finding


def state_digest() -> str:
    """The digest of the active checkpoint; with several shards, of their digests in order; empty where there is none.
    It is a few seconds behind the state."""
    digests = list(
        Learner.objects.exclude(checkpoint=None).order_by("shard").values_list("checkpoint__digest", flat=True)
    )
    return one_digest(digests)


def one_digest(digests: Sequence[str]) -> str:
    """Of the digests of all shards, in order; see `state_digest`."""
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else ""
