"""The queue of findings: filters, a page of rows, and the details of one row."""

from datetime import UTC, datetime

from django import shortcuts
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.dateparse import parse_datetime

from monitoring import roles
from monitoring.console import reasons
from monitoring.console.pages import ConsoleRequest, page, render
from monitoring.findings.finding_queue import ANY, BY_EXPOSURE, KINDS, NEWEST, Filter, glance, list_queue
from monitoring.models import Finding
from monitoring.operations import undo_decision
from recommender.ids import MAX_ID

STATES = [(value, value.capitalize()) for value in Finding.State.values]
ORDERS = [(BY_EXPOSURE, "Most at stake"), (NEWEST, "Newest first")]


@page
def show(request: ConsoleRequest) -> HttpResponse:
    wanted = parse(request.GET)
    address = request.GET.copy()
    for name in ("part", "after"):
        address.pop(name, None)
    after = request.GET.get("after", "")
    may_review = request.user.has_perm(roles.REVIEW)
    return render(
        request,
        "console/queue.html",
        "Findings",
        queue=list_queue(wanted, after=after),
        wanted=wanted,
        after=after,
        address=address.urlencode(),
        is_part=request.GET.get("part") == "1",
        undoable=undo_decision.last(request.user) if may_review else None,
        **_choices(),
    )


@page
def show_glance(request: HttpRequest, id: int) -> HttpResponse:
    """Show the details of a row, which queue.js puts into the row."""
    may = {"may_review": request.user.has_perm(roles.REVIEW)}
    response = shortcuts.render(request, "console/_glance.html", may | glance(finding_id=id))
    response["Cache-Control"] = "no-store"
    return response


def parse(asked: QueryDict) -> Filter:
    """Read the filters from the query string and ignore invalid values."""
    state, kind = asked.get("state", Finding.State.OPEN), asked.get("kind", "")
    severity, order = asked.get("severity", ""), asked.get("order", "")
    return Filter(
        state=state if state in (*Finding.State.values, ANY) else Finding.State.OPEN,
        kind=kind if kind in Finding.Kind.values else "",
        severity=int(severity) if severity in map(str, Finding.Severity.values) else 0,
        item=asked.get("item", "").strip().replace("\0", "")[:MAX_ID],
        text=asked.get("q", "").strip()[:200],
        since=moment(asked.get("since", "")),
        until=moment(asked.get("until", "")),
        order=order if order in (BY_EXPOSURE, NEWEST) else "",
    )


def moment(text: str) -> datetime | None:
    """Read a time as `datetime-local` sends it, in UTC."""
    try:
        at = parse_datetime(text)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at


def _choices() -> dict[str, object]:
    return {
        "states": [*STATES, (ANY, "Any")],
        "kinds": [(str(kind), name) for kind, name in KINDS.items()],
        "severities": [(str(level.value), level.label) for level in reversed(Finding.Severity)],
        "orders": ORDERS,
        "reasons": reasons.QUICK,
    }
