"""The queue of findings, by exposure or by age, page by page.

    Filter ──> list_queue ──> Queue: PAGE rows, the cursor of the next       keyset, so a page is as fast as the first
    finding ─> glance     ──> reasons, evidence, patterns of a few actors    asked for when a row is opened

The order is by (exposure, id) or by id. Both are unique, so pages neither overlap nor skip while findings come and
go. A finding whose exposure is counted again in the meantime may appear twice. Open findings have a partial index in
the order of exposure. Other findings are listed newest first, unless someone chooses the other order, which sorts all
rows that match the filters.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from monitoring.findings import finding_descriptions
from monitoring.findings.wording import FEATURE_WORDS, REASONS, exposure_in_words
from monitoring.models import Finding, FindingItem
from monitoring.text_search import having_words
from recommender import database_clock
from recommender.ids import MAX_ROW_ID

PAGE = 50
COUNTED = 1_000
ACTORS_SHOWN = 5
EVIDENCE_SHOWN = 3
STRANGE = 90  # a percentile
KINDS = {
    Finding.Kind.CAMPAIGN: "Campaign",
    Finding.Kind.ITEM_WINDOW: "Item window",
    Finding.Kind.DRIFT: "Drift alarm",
}
ANY = "any"
BY_EXPOSURE, NEWEST = "exposure", "newest"


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of the queue, and its order.

    state: one of Finding.State or ANY. since, until: seen in this time.
    """

    state: str = Finding.State.OPEN
    kind: str = ""
    severity: int = 0
    item: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    order: str = ""

    @property
    def by(self) -> str:
        return self.order or (BY_EXPOSURE if self.state == Finding.State.OPEN else NEWEST)

    @property
    def is_narrow(self) -> bool:
        """Return True if there is any filter except the state."""
        return bool(self.kind or self.severity or self.item or self.text or self.since or self.until)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A finding as the queue lists it."""

    finding: Finding
    kind: str
    severity: str
    exposure: str
    reasons: list[str]
    age_s: float

    @property
    def is_alarm(self) -> bool:
        return bool(self.finding.kind == Finding.Kind.DRIFT)

    @property
    def may_be_released(self) -> bool:
        return self.finding.state in (Finding.State.OPEN, Finding.State.CONFIRMED)

    @property
    def may_be_confirmed(self) -> bool:
        return bool(self.finding.state != Finding.State.CONFIRMED)


@dataclass(frozen=True, slots=True)
class Queue:
    """A page of the queue.

    after: continues the list, empty at its end. n_open: all open findings, at most COUNTED.
    """

    rows: list[QueueRow]
    after: str
    n_open: int


def list_queue(wanted: Filter, *, after: str = "") -> Queue:
    """Read a page in two queries. An unreadable `after` begins again at the top."""
    rows = _following(_filtered(wanted), wanted.by, after)
    order = ("-exposure", "-id") if wanted.by == BY_EXPOSURE else ("-id",)
    found = list(rows.order_by(*order)[: PAGE + 1])
    shown, now = found[:PAGE], database_clock.now()
    n_open = Finding.objects.filter(state=Finding.State.OPEN)[:COUNTED].count()
    return Queue([_row(each, now) for each in shown], _cursor(shown, wanted.by) if len(found) > PAGE else "", n_open)


def _filtered(wanted: Filter) -> QuerySet[Finding]:
    rows = Finding.objects.defer("words")
    if wanted.state != ANY:
        rows = rows.filter(state=wanted.state)
    if wanted.kind:
        rows = rows.filter(kind=wanted.kind)
    if wanted.severity:
        rows = rows.filter(severity=wanted.severity)
    if wanted.item:
        rows = rows.filter(pk__in=FindingItem.objects.filter(item=wanted.item).values("finding"))
    if wanted.since:
        rows = rows.filter(last_ms__gte=int(wanted.since.timestamp() * 1000))
    if wanted.until:
        rows = rows.filter(first_ms__lte=int(wanted.until.timestamp() * 1000))
    return having_words(rows, wanted.text)


def _following(rows: QuerySet[Finding], by: str, after: str) -> QuerySet[Finding]:
    exposure, _, number = after.rpartition(":")
    try:
        last, last_id = float(exposure) if by == BY_EXPOSURE else 0.0, int(number)
    except ValueError:
        return rows
    if not 0 <= last_id <= MAX_ROW_ID:
        return rows
    if by != BY_EXPOSURE:
        return rows.filter(id__lt=last_id)
    # The second condition includes the first, but an index can begin at the first.
    return rows.filter(Q(exposure__lt=last) | Q(exposure=last, id__lt=last_id), exposure__lte=last)


def _cursor(shown: list[Finding], by: str) -> str:
    last = shown[-1]
    return f"{last.exposure!r}:{last.pk}" if by == BY_EXPOSURE else f":{last.pk}"


def _row(finding: Finding, now: datetime) -> QueueRow:
    return QueueRow(
        finding=finding,
        kind=KINDS[Finding.Kind(finding.kind)],
        severity=Finding.Severity(finding.severity).label.lower(),
        exposure=exposure_in_words(finding.exposure),
        reasons=[words for bit, (_, words) in REASONS.items() if finding.reasons & bit],
        age_s=max(0.0, now.timestamp() - finding.first_ms / 1000),
    )


# -- one, at a glance -----------------------------------------------------------------------------------------------


def glance(*, finding_id: int) -> dict[str, Any]:
    """Return the reasons, the evidence, and the behaviour of a few actors.

    Raises NotFound.
    """
    found = finding_descriptions.explain_finding(finding_id=finding_id)
    newest = found["newest"]
    return {
        "finding": found,
        "why": found["why"],
        "evidence": [
            (FEATURE_WORDS[each["feature"]], each["median"])
            for each in found["evidence"]
            if each["median"] >= STRANGE
        ][:EVIDENCE_SHOWN],
        "items": found["items"][:ACTORS_SHOWN],
        "n_more_items": max(0, len(found["items"]) - ACTORS_SHOWN),
        "together": _together(newest),
        "actors": _actors(newest),
    }


def _together(events: list[dict[str, Any]]) -> str:
    """Describe in a sentence how the actors act together."""
    if not events:
        return ""
    per_actor = Counter(each["actor"] for each in events)
    n_once = sum(n == 1 for n in per_actor.values())
    parts = [f"{n_once} of {_n(len(per_actor), 'actor')} acted only once"]
    networks = {each["network_key"] for each in events if each["network_key"]}
    if networks:
        parts.append(f"from {_n(len(networks), 'network')}")
    programs = {each["agent_key"] for each in events if each["agent_key"]}
    if programs:
        parts.append(f"with {_n(len(programs), 'user agent')}")
    return f"In the newest {_n(len(events), 'event')}: {', '.join(parts)}, within {_span(events)}."


def _actors(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the busiest actors, each with a description of its acts."""
    by_actor = defaultdict(list)
    for each in events:
        by_actor[each["actor"]].append(each)
    busiest = sorted(by_actor.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:ACTORS_SHOWN]
    return [{"actor": actor, "pattern": _pattern(acts), "acts": len(acts)} for actor, acts in busiest]


def _pattern(acts: list[dict[str, Any]]) -> str:
    items = {each["item"] for each in acts}
    parts = [f"{_n(len(acts), 'act')} on {_n(len(items), 'item')}"]
    if len(acts) > 1:
        parts.append(f"within {_span(acts)}")
    n_networks = len({each["network_key"] for each in acts if each["network_key"]})
    names = sorted({each["network"] for each in acts if each["network"]})
    if names:
        parts.append(f"from {names[0]}" + (f" and {n_networks - 1} more" if n_networks > 1 else ""))
    elif n_networks:
        parts.append(f"from {_n(n_networks, 'network')}")
    programs = sorted({each["user_agent"] for each in acts if each["user_agent"]})
    if programs:
        parts.append(f"with {programs[0][:80]}")
    return ", ".join(parts)


def _span(events: list[dict[str, Any]]) -> str:
    at = [each["received_at"] for each in events]
    seconds = (max(at) - min(at)).total_seconds()
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"


def _n(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
