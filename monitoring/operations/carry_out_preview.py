"""From a preview to the revert it showed: exactly what was looked at is done, or it is refused.

    request_revert.revert(is_preview=True) ──┐                       ┌──> carry_out: the same rule, for good
    AutoFreeze's proposal ──propose──────────┴──> Revert, previewed ─┴──> look_again: the same, on the log as it is

What a preview leaves out is stored with it by keys (`recommender.models.Exclusion`). Using that rule again, rather
than asking once more who stands behind a finding, means that nothing is left out that nobody saw.
"""

from django.db import transaction

from monitoring.audit.reviews import By
from monitoring.models import AutoFreeze, Review
from monitoring.operations import request_revert
from recommender.core import decisions
from recommender.errors import Conflict, NotFound
from recommender.ids import MAX_ROW_ID
from recommender.models import Revert

PREVIEWED = "A preview, asked for in the console."


def carry_out(*, by: By, note: str, preview_id: int) -> Revert:
    """Do for good what a preview showed. Raises NotFound, Invalid, and Conflict where the preview is not over, where
    the history was changed since, or while another revert is under way."""
    preview = get_preview(preview_id)
    if preview.state != Revert.State.DONE:
        raise Conflict(f"This preview is {preview.state}; only one that is done can be carried out.")
    with transaction.atomic():
        asked = _ask(preview, by=by, note=note, is_preview=False)
        if is_stale(preview) or asked.checkpoints != preview.checkpoints:  # now that no other can begin
            raise Conflict("The model was reverted since this preview: it shows another history. Preview again.")
    return asked


def look_again(*, by: By, preview_id: int) -> Revert:
    """Work a preview out anew. Raises NotFound, Conflict."""
    return _ask(get_preview(preview_id), by=by, note=PREVIEWED, is_preview=True)


def propose(*, by: By, freeze_id: int) -> Revert:
    """Preview what the policy proposes beside a freeze of its own. Raises NotFound, Conflict where it proposes
    nothing (yet)."""
    freeze = AutoFreeze.objects.filter(pk=freeze_id).first()
    if freeze is None:
        raise NotFound(f"There is no automatic freeze {freeze_id}.")
    if not freeze.checkpoint_id or freeze.suspects is None:
        raise Conflict("There is no proposal for this freeze (yet); choose a point yourself.")
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
    """Raises NotFound."""
    preview = Revert.objects.filter(pk=preview_id, is_preview=True).first() if preview_id <= MAX_ROW_ID else None
    if preview is None:
        raise NotFound(f"There is no preview {preview_id}.")
    return preview


def is_stale(preview: Revert) -> bool:
    """Was the history changed since it was asked for?"""
    reverts = Revert.objects.filter(is_preview=False, state=Revert.State.DONE)
    return reverts.filter(finished_at__gte=preview.created_at).exists()


def asked_in(revert_id: int) -> Review | None:
    """The decision by which a revert or preview was asked for. Reads reverts' decisions only, by the index."""
    reverts = Review.objects.filter(action=Review.Action.REVERT, subject__revert=revert_id)
    return reverts.order_by("id").first()


def _ask(preview: Revert, *, by: By, note: str, is_preview: bool) -> Revert:
    review = asked_in(preview.pk)
    subject = review.subject if review else {}
    return request_revert.ask(
        by=by,
        note=note,
        checkpoint_id=subject.get("checkpoint", preview.checkpoints[0]),
        mode=preview.mode,
        exclusion=decisions.ExclusionRule.from_state(preview.exclusion.rule) if preview.exclusion else None,
        is_preview=is_preview,
        findings=subject.get("excluded", {}).get("findings", ()),
        as_previewed=preview.pk,
    )
