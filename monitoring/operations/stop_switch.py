"""Freeze and thaw learning, and pin a checkpoint.

Each is recorded in its transaction.
"""

from contextlib import suppress
from typing import Any

from django.db import transaction

from monitoring.alerts import outbox
from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import Finding, Review
from monitoring.operations.state_digest import state_digest
from monitoring.policy import enforcement
from recommender import database_clock
from recommender.control import learning_switch
from recommender.errors import Conflict
from recommender.models import Checkpoint, FrozenScope, Learner

Action = Review.Action


@transaction.atomic
def freeze(*, by: By, note: str, scope: str = "") -> Review:
    """Stop learning between two steps, while events are accepted and wait.

    With a scope, only that list stays as it is. A freeze of the policy becomes the person's, and no longer ends by
    itself. Raises Conflict if a person froze it already, Invalid, NotFound.
    """
    before = state_digest()
    subject: dict[str, Any] = {}
    if scope:
        learning_switch.freeze_scope(scope)
    elif n_taken_on := enforcement.take_over():
        subject["taken_on"] = n_taken_on
        with suppress(Conflict), transaction.atomic():
            learning_switch.freeze()  # the other shards
    else:
        learning_switch.freeze()
    review = reviews.record(by=by, action=Action.FREEZE, note=note, subject=subject, scope=scope, before=before)
    what = f"The list {scope}" if scope else "Learning"
    outbox.notify(kind="freeze", title=f"{what} was frozen by {review.by}.", review=review)
    return review


@transaction.atomic
def thaw(*, by: By, note: str, scope: str = "") -> Review:
    """Learn again, with the waiting events first.

    With a scope, that list shows the present counts again. Raises Conflict if it is not frozen, Invalid.
    """
    before = state_digest()
    rows = FrozenScope.objects.filter(scope=scope) if scope else Learner.objects.order_by("shard")
    frozen_at = rows.values_list("frozen_at", flat=True).first()
    if scope:
        learning_switch.thaw_scope(scope)
    else:
        learning_switch.thaw()
    frozen_s = int((database_clock.now() - frozen_at).total_seconds()) if frozen_at else 0
    subject: dict[str, Any] = {"frozen_s": frozen_s}
    if not scope and (n_settled := enforcement.settle(state=Finding.State.RELEASED)):
        subject["alarms_settled"] = n_settled
    review = reviews.record(by=by, action=Action.THAW, note=note, subject=subject, scope=scope, before=before)
    what = f"The list {scope}" if scope else "Learning"
    outbox.notify(kind="thaw", title=f"{what} was thawed by {review.by}.", review=review)
    return review


@transaction.atomic
def set_pinned(*, by: By, note: str, checkpoint_id: int, is_pinned: bool) -> Checkpoint:
    """Pin a checkpoint, so that it is kept at any age, or unpin it.

    Raises NotFound, Conflict, Invalid.
    """
    checkpoint = learning_switch.pin(checkpoint_id=checkpoint_id, is_pinned=is_pinned)
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
