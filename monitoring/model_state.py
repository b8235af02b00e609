"""The state of learning, checkpoints and reverts, for all that show them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Min

from monitoring.json_shapes import Page, moment, paged
from monitoring.models import Finding, FindingCursor
from recommender.errors import NotFound
from recommender.ids import MAX_ROW_ID
from recommender.learning import learner_state
from recommender.models import STATE_COLUMNS, Checkpoint, Learner, Revert


def get_model() -> dict[str, Any]:
    """Return the state of learning, overall and by shard."""
    states = {state.shard: state for state in learner_state.list_learner_states()}
    shards: list[dict[str, Any]] = []
    for row in Learner.objects.select_related("checkpoint").defer("checkpoint__data").order_by("shard"):
        state = states.get(row.shard)
        if state is None:  # the shard is brand new
            continue
        shards.append(
            {
                "shard": row.shard,
                "state": row.state,
                "stream_time": moment(row.stream_ms),
                "step": row.step,
                "lag_s": round(state.lag_s, 3),
                "events": row.n_events,
                "verdicts": state.verdicts,
                "reverts": row.n_reverts,
                "fold_version": row.fold_version,
                "version_note": state.version_note,
                "frozen_since": row.frozen_at,
                "checkpoint": row.checkpoint and describe_checkpoint(row.checkpoint),
            }
        )
    frozen = [each["frozen_since"] for each in shards if each["frozen_since"]]
    cursors = FindingCursor.objects.values_list("n_automated", "n_unjudged")
    return {
        "state": "frozen" if any(each["state"] == Learner.State.FROZEN for each in shards) else "learning",
        "frozen_since": min(frozen, default=None),
        "waiting_events": learner_state.get_backlog(),
        "stream_time": max((each["stream_time"] for each in shards if each["stream_time"]), default=None),
        "findings": {"open": Finding.objects.filter(state=Finding.State.OPEN).count()},
        "automated_events": sum(n for n, _ in cursors),
        "revert": _revert_under_way(),
        "shards": shards,
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of learning in one word: learning, frozen or reverting.

    version_note: that another version than this server's learns, or "".
    """

    word: str
    frozen_at: datetime | None
    revert: int | None
    version_note: str = ""


def get_standing() -> Standing:
    """Return the state that every page shows, in three indexed reads."""
    frozen_at = Learner.objects.filter(state=Learner.State.FROZEN).aggregate(at=Min("frozen_at"))["at"]
    revert = _revert_under_way()
    word = "reverting" if revert else "frozen" if frozen_at else "learning"
    return Standing(word, frozen_at, revert, learner_state.get_version_note())


def _revert_under_way() -> int | None:
    under_way = Revert.objects.filter(state__in=["queued", "running"], is_preview=False)
    return under_way.values_list("id", flat=True).first()


def list_checkpoints(*, limit: int = 50, before: int | None = None) -> Page:
    """List checkpoints without their bytes."""
    rows = Checkpoint.objects.defer(*STATE_COLUMNS).order_by("-id")
    return paged(rows if before is None else rows.filter(id__lt=before), limit, describe_checkpoint)


def describe_checkpoint(row: Checkpoint) -> dict[str, Any]:
    return {
        "id": row.pk,
        "shard": row.shard,
        "digest": row.digest,
        "step": row.step,
        "stream_time": moment(row.stream_ms),
        "events": row.n_events,
        "hr20": round(row.hr20, 5) if row.n_predicted else None,
        "predictions": row.n_predicted,
        "is_pinned": row.is_pinned,
        "fold_version": row.fold_version,
        "bytes": row.n_bytes,
        "parent": row.parent_id,
        "created_at": row.created_at,
    }


def get_revert(*, revert_id: int) -> dict[str, Any]:
    """Return the progress of a revert or preview, and its outcome. Raises NotFound."""
    row = Revert.objects.filter(pk=revert_id).first() if revert_id <= MAX_ROW_ID else None
    if row is None:
        raise NotFound(f"There is no revert {revert_id}.")
    return {
        "id": row.pk,
        "mode": row.mode,
        "preview": row.is_preview,
        "state": row.state,
        "checkpoints": row.checkpoints,
        "events_done": row.n_done,
        "events_total": row.n_total,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "outcome": row.outcome,
        "error": row.error,
    }
