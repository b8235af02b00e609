"""What the API, commands and console show of the model and its findings: reads, bounded, in a stable order."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.db.models import Min

from monitoring.models import Finding, FindingCursor
from monitoring.operations import get_finding
from monitoring.wording import FEATURES, REASONS, UNKNOWN, reasons_of
from recommender import learner_state, log
from recommender.errors import NotFound
from recommender.log import Position
from recommender.models import Checkpoint, EventVerdict, Learner, Revert

MAX_LIMIT = 200
EVENTS_SHOWN = 100  # of a finding
EVIDENCE_OF = 2_000  # events, at most, that percentiles are taken over
VERDICTS = {0: "admit", 1: "hold", 2: "quarantine"}


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first; `before` continues the list, None at its end."""

    rows: list[Any]
    before: int | None


# -- the model ------------------------------------------------------------------------------------------------------


def get_model() -> dict[str, Any]:
    """How learning stands, overall and shard by shard."""
    states = {state.shard: state for state in learner_state.list_learner_states()}
    shards = []
    for row in Learner.objects.select_related("checkpoint").defer("checkpoint__data").order_by("shard"):
        state = states.get(row.shard)
        if state is None:  # made this moment
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
    """How learning stands, in a word: learning, frozen or reverting."""

    word: str
    frozen_at: datetime | None
    revert: int | None


def get_standing() -> Standing:
    """The word a page begins with. Two indexed reads."""
    frozen_at = Learner.objects.filter(state=Learner.State.FROZEN).aggregate(at=Min("frozen_at"))["at"]
    revert = _revert_under_way()
    return Standing("reverting" if revert else "frozen" if frozen_at else "learning", frozen_at, revert)


def _revert_under_way() -> int | None:
    under_way = Revert.objects.filter(state__in=["queued", "running"], is_preview=False)
    return under_way.values_list("id", flat=True).first()


def list_checkpoints(*, limit: int = 50, before: int | None = None) -> Page:
    """Without their bytes."""
    rows = Checkpoint.objects.defer("data").order_by("-id")
    return _page(rows if before is None else rows.filter(id__lt=before), limit, describe_checkpoint)


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
        "bytes": row.n_bytes,
        "parent": row.parent_id,
        "created_at": row.created_at,
    }


def get_revert(*, revert_id: int) -> dict[str, Any]:
    """How far it is, and what it changed or would. Raises NotFound."""
    row = Revert.objects.filter(pk=revert_id).first() if revert_id < 2**63 else None
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


# -- findings -------------------------------------------------------------------------------------------------------


def list_findings(
    *, state: str = "", kind: str = "", item: str = "", limit: int = 50, before: int | None = None
) -> Page:
    """Newest first; those that have `item` among their items."""
    rows = Finding.objects.order_by("-id")
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(kind=kind)
    if item:
        rows = rows.filter(items__item=item)
    return _page(rows if before is None else rows.filter(id__lt=before), limit, describe_finding)


def describe_finding(row: Finding) -> dict[str, Any]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "state": row.state,
        "severity": Finding.Severity(row.severity).label.lower(),
        "title": row.title,
        "item": row.item,
        "shard": row.shard,
        "first_at": moment(row.first_ms),
        "last_at": moment(row.last_ms),
        "events": row.n_events,
        "actors": row.n_actors,
        "held": row.n_held,
        "quarantined": row.n_quarantined,
        "released_since": row.n_released_since,
        "reasons": reasons_of(row.reasons),
        "exposure": row.exposure,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "decided_at": row.decided_at,
    }


def explain_finding(*, finding_id: int) -> dict[str, Any]:
    """A finding with its items, why, the evidence over its events, and the newest EVENTS_SHOWN of them, with what the
    log says of these. Raises NotFound."""
    row = get_finding(finding_id)
    at = list(row.events.order_by("-received_ms", "-id").values_list("xid", "seq")[:EVIDENCE_OF])
    verdicts = {(each.xid, each.seq): each for each in EventVerdict.objects.filter(seq__in=[seq for _, seq in at])}
    known = [verdicts[each] for each in at if each in verdicts]
    events = log.read_at([Position(*each) for each in at[:EVENTS_SHOWN]], since_ms=row.first_ms)
    items = row.items.order_by("-n_events", "item")[:MAX_LIMIT]
    return describe_finding(row) | {
        "items": [
            {
                "item": each.item,
                "first_at": moment(each.first_ms),
                "last_at": moment(each.last_ms),
                "events": each.n_events,
            }
            for each in items
        ],
        "why": [
            {"reason": name, "says": words, "events": sum(bool(each.reasons & bit) for each in known)}
            for bit, (name, words) in REASONS.items()
            if row.reasons & bit
        ],
        "evidence": summarise(known),
        "newest": [
            describe_event(events, place, verdicts.get((int(events.xid[place]), int(events.seq[place]))))
            for place in reversed(range(len(events)))
        ],
    }


def describe_event(events: log.LogSlice, place: int, verdict: EventVerdict | None) -> dict[str, Any]:
    return {
        "seq": int(events.seq[place]),
        "actor": events.actors[place],
        "item": events.items[place],
        "received_at": moment(int(events.received_ms[place])),
        "ip": events.ips[place] if events.ips else None,
        "user_agent": events.user_agents[place] if events.user_agents else None,
        "verdict": VERDICTS[verdict.verdict] if verdict else None,
        "was_held": verdict.was_held if verdict else None,
        "score": round(verdict.score, 4) if verdict else None,
        "reasons": reasons_of(verdict.reasons) if verdict else [],
    }


def summarise(verdicts: list[EventVerdict]) -> list[dict[str, Any]]:
    """Where events stand among cleared traffic, feature by feature, strangest first: the median of their percentiles,
    and how many stand at 95 or above."""
    width = len(FEATURES)
    rows = [bytes(each.evidence)[:width] for each in verdicts if each.evidence and len(each.evidence) >= width]
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width)
    found = []
    for column, name in enumerate(FEATURES):
        values = table[:, column]
        values = values[values != UNKNOWN]
        if values.size:
            found.append(
                {
                    "feature": name,
                    "events": int(values.size),
                    "median": int(np.median(values)),
                    "at_95": int(np.count_nonzero(values >= 95)),
                }
            )
    return sorted(found, key=lambda each: -each["median"])


def moment(at_ms: int) -> datetime | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else None


def _page(rows: Any, limit: int, describe: Any) -> Page:
    limit = max(1, min(limit, MAX_LIMIT))
    found = list(rows[: limit + 1])
    shown = found[:limit]
    return Page([describe(each) for each in shown], shown[-1].pk if len(found) > limit else None)
