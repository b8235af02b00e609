"""The audit page: decisions by filter, a check of the chain, and a CSV download."""

from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse

from monitoring import roles
from monitoring.audit import chain_checks
from monitoring.audit.audit_list import Asked, lines, list_audit
from monitoring.console.pages import ConsoleRequest, form, page, render
from monitoring.console.queue import moment
from monitoring.models import Review
from recommender.errors import Conflict


@page
def show(request: HttpRequest) -> HttpResponse:
    address = request.GET.copy()
    for name in ("part", "before"):
        address.pop(name, None)
    before = request.GET.get("before", "")
    is_further = before.isascii() and before.isdecimal() and len(before) < 19
    asked = parse(request.GET)
    return render(
        request,
        "console/audit.html",
        "Audit",
        audit=list_audit(asked, before=int(before) if is_further else None),
        verified=chain_checks.get_verified(),
        asked=asked,
        address=address.urlencode(),
        actions=Review.Action.choices,
    )


@page
def export(request: HttpRequest) -> StreamingHttpResponse:
    """Send the decisions that match the filters as CSV, in pieces as they are read."""
    response = StreamingHttpResponse(lines(parse(request.GET)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="decisions.csv"'
    response["Cache-Control"] = "no-store"
    return response


@form(roles.VIEW_CONSOLE)
def verify(request: ConsoleRequest) -> str:
    """Check the hash chain, for any account that sees the console.

    A broken chain is an error message.
    """
    check = chain_checks.check(by=request.user, is_full=request.POST.get("full") == "1")
    if check.n_problems:
        raise Conflict(f"NOT INTACT: the check found {check.n_problems} problems in {check.n_rows:,} decisions.")
    return f"Intact: {check.n_rows:,} decisions checked, up to number {check.head_id}."


def parse(asked: QueryDict) -> Asked:
    """Read the filters from the query string and ignore invalid values."""
    action = asked.get("action", "")
    return Asked(
        action=action if action in Review.Action.values else "",
        by=asked.get("by", "").strip().replace("\0", "")[:200],
        since=moment(asked.get("since", "")),
        until=moment(asked.get("until", "")),
        text=asked.get("q", "").strip()[:200],
    )
