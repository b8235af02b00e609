"""Findings and their events as the API, the commands and the console show them.

All functions only read. Every list has a maximum length and a stable order.
"""

from typing import Any

import numpy as np

from monitoring.findings.wording import FEATURES, REASONS, UNKNOWN, reasons_of
from monitoring.json_shapes import MAX_LIMIT, Page, moment, paged
from monitoring.models import Finding
from monitoring.operations.decide_finding import get_finding
from recommender.core.vocabulary import Verdict
from recommender.log import lookups
from recommender.log.event_log import Position
from recommender.log.lookups import Act
from recommender.models import EventVerdict

EVENTS_SHOWN = 100  # events of a finding
EVIDENCE_OF = 2_000  # most events that percentiles are computed over


def list_findings(
    *, state: str = "", kind: str = "", item: str = "", limit: int = 50, before: int | None = None
) -> Page:
    """List findings, newest first, filtered by state, kind and one of their items."""
    rows = Finding.objects.order_by("-id")
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(kind=kind)
    if item:
        rows = rows.filter(items__item=item)
    return paged(rows if before is None else rows.filter(id__lt=before), limit, describe_finding)


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
    """Return a finding with its items, reasons, evidence and newest events.

    The evidence is over its newest EVIDENCE_OF events. The newest EVENTS_SHOWN come with their data from the log.
    Raises NotFound.
    """
    row = get_finding(finding_id)
    at = list(row.events.order_by("-received_ms", "-id").values_list("xid", "seq")[:EVIDENCE_OF])
    verdicts = {(each.xid, each.seq): each for each in EventVerdict.objects.filter(seq__in=[seq for _, seq in at])}
    known = [verdicts[each] for each in at if each in verdicts]
    acts = lookups.acts_at([Position(*each) for each in at[:EVENTS_SHOWN]], since_ms=row.first_ms)
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
        "newest": [describe_act(act, verdicts.get((act.xid, act.seq))) for act in reversed(acts)],
    }


def _hex(key: int) -> str | None:
    return f"{key:016x}" if key else None


def describe_act(act: Act, verdict: EventVerdict | None) -> dict[str, Any]:
    return {
        "seq": act.seq,
        "actor": act.actor,
        "item": act.item,
        "received_at": moment(act.received_ms),
        "ip": act.ip,
        "network": act.network,
        "network_key": _hex(act.network_key),
        "user_agent": act.user_agent,
        "agent_key": _hex(act.agent_key),
        "verdict": Verdict(verdict.verdict).name.lower() if verdict else None,
        "was_held": verdict.was_held if verdict else None,
        "score": round(verdict.score, 4) if verdict else None,
        "reasons": reasons_of(verdict.reasons) if verdict else [],
    }


def summarise(verdicts: list[EventVerdict]) -> list[dict[str, Any]]:
    """Compare events with cleared traffic, feature by feature, the strangest first.

    Each row has the median of the events' percentiles, and the number of events at 95 or above.
    """
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
