"""Turn a preview into the revert that it showed: exactly this is done, or nothing.

    request_revert.revert(is_preview=True) ──┐                       ┌──> carry_out: the same rule, for good
    AutoFreeze's proposal ──propose──────────┴──> Revert, previewed ─┴──> look_again: the same, on the log as it is

A preview stores the keys of everything that it leaves out (`recommender.models.Exclusion`). The revert uses the same
keys, and does not look up the actors of a finding again. So nothing is left out that no one saw in the preview.
"""

from django.db import transaction

from monitoring.audit.reviews import By
from monitoring.models import AutoFreeze, Review
from monitoring.operations import request_revert
from recommender.core import decisions
from recommender.errors import Conflict, NotFound
from recommender.ids import MAX_ROW_ID
from recommender.models import Revert

PREVIEWED = "A preview, requested in the console."


def carry_out(*, by: By, note: str, preview_id: int) -> Revert:
    """Carry out what a preview showed.

    Raises NotFound and Invalid. Raises Conflict if the preview is not done, if the history changed since, or while
    another revert is running.
    """
    preview = get_preview(preview_id)
    if preview.state != Revert.State.DONE:
        raise Conflict(f"This preview is {preview.state}. You can carry it out when it is done.")
    with transaction.atomic():
        asked = ask_again(preview, by=by, note=note, is_preview=False)
        # checked now, when no other revert can begin
        if is_stale(preview) or asked.checkpoints != preview.checkpoints:
            raise Conflict("This preview is out of date, because the model was reverted after it. Preview again.")
    return asked


def look_again(*, by: By, preview_id: int) -> Revert:
    """Compute a preview again. Raises NotFound, Conflict."""
    return ask_again(get_preview(preview_id), by=by, note=PREVIEWED, is_preview=True)


def propose(*, by: By, freeze_id: int) -> Revert:
    """Preview the policy's proposal for an automatic freeze.

    Raises NotFound, and Conflict if there is no proposal, or none yet.
    """
    freeze = AutoFreeze.objects.filter(pk=freeze_id).first()
    if freeze is None:
        raise NotFound(f"There is no automatic freeze {freeze_id}.")
    if not freeze.checkpoint_id or freeze.suspects is None:
        raise Conflict("This freeze has no proposal yet. Try again in a few seconds, or choose a checkpoint.")
    rule = decisions.ExclusionRule.from_state(freeze.suspects) if freeze.n_suspects else None
    return request_revert.ask(
        by=by,
        note=PREVIEWED,
        checkpoint_id=freeze.checkpoint_id,
        mode=Revert.Mode.EXCLUDE if rule else Revert.Mode.REPLAY,
        exclusion=rule,
        is_preview=True,
        freeze=freeze.pk,
    )


def get_preview(preview_id: int) -> Revert:
    """Return a preview. Raises NotFound."""
    preview = Revert.objects.filter(pk=preview_id, is_preview=True).first() if preview_id <= MAX_ROW_ID else None
    if preview is None:
        raise NotFound(f"There is no preview {preview_id}.")
    return preview


def is_stale(preview: Revert) -> bool:
    """Return True if the history changed since the preview was requested."""
    reverts = Revert.objects.filter(is_preview=False, state=Revert.State.DONE)
    return reverts.filter(finished_at__gte=preview.created_at).exists()


def asked_in(revert_id: int) -> Review | None:
    """Return the decision that requested a revert or preview.

    It reads only decisions on reverts, by the index.
    """
    reverts = Review.objects.filter(action=Review.Action.REVERT, subject__revert=revert_id)
    return reverts.order_by("id").first()


def ask_again(first: Revert, *, by: By, note: str, is_preview: bool, why: str = "as_previewed") -> Revert:
    """Ask again for an earlier revert or preview.

    Checkpoint, mode and rule are the same. The review names the earlier one under the word `why`. Raises NotFound,
    Invalid, Conflict.
    """
    review = asked_in(first.pk)
    subject = review.subject if review else {}
    return request_revert.ask(
        by=by,
        note=note,
        checkpoint_id=subject.get("checkpoint", first.checkpoints[0]),
        mode=first.mode,
        exclusion=decisions.ExclusionRule.from_state(first.exclusion.rule) if first.exclusion else None,
        is_preview=is_preview,
        findings=subject.get("excluded", {}).get("findings", ()),
        **{why: first.pk},
    )
