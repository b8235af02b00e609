"""Try a revert or a promotion again that failed.

The new revert has the same checkpoint, mode and rule.

    Revert, failed ──retry──> carry_out_preview.ask_again | request_revert.promote ──> Revert, queued ──> Review

The failed revert keeps its row, its error and its two reviews. The review of the new one names it (`retry_of`).
"""

from django.db import transaction

from monitoring.audit.reviews import By
from monitoring.models import Review
from monitoring.operations import carry_out_preview, request_revert
from recommender.errors import Conflict, NotFound
from recommender.ids import MAX_ROW_ID
from recommender.models import Revert

AGAIN = "The revert failed and is tried again."


@transaction.atomic
def retry(*, by: By, revert_id: int, note: str = AGAIN) -> Revert:
    """Ask again for a revert or preview that failed. The caller checks permissions.

    Raises NotFound and Invalid. Raises Conflict if it has not failed, or another revert is under way.
    """
    failed = Revert.objects.filter(pk=revert_id).first() if revert_id <= MAX_ROW_ID else None
    if failed is None:
        raise NotFound(f"There is no revert {revert_id}.")
    if failed.state != Revert.State.FAILED:
        raise Conflict(f"Revert {revert_id} is {failed.state}. You can try only a failed one again.")
    promoted = Review.objects.filter(action=Review.Action.PROMOTE, subject__revert=revert_id).order_by("id").first()
    if promoted is None:
        return carry_out_preview.ask_again(failed, by=by, note=note, is_preview=failed.is_preview, why="retry_of")
    request_revert.close_reverts()  # gives the trial back, if the keeper has not done so yet
    review = request_revert.promote(by=by, note=note, trial_id=promoted.subject["trial"])
    return Revert.objects.get(pk=review.subject["revert"])
