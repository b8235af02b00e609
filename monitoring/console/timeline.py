"""The model over time with its stop switch, and the page of a revert.

Zooming asks the server: `?from=&to=` (ms since 1970, or a date and time in UTC), so that every range has its 480
points. Without these values the page shows the last hour with events, and keeps itself up to date.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from monitoring.console.data import revert_data, switch_data, timeline_data
from monitoring.console.data.timeline_data import Range
from monitoring.console.pages import in_a_sentence, page, render
from recommender import database_clock
from recommender.core.vocabulary import DAY_MS, HOUR_MS
from recommender.errors import ApiError, Invalid

SPANS = (
    ("15 min", HOUR_MS // 4),
    ("1 h", HOUR_MS),
    ("6 h", 6 * HOUR_MS),
    ("1 day", DAY_MS),
    ("7 days", 7 * DAY_MS),
    ("30 days", 30 * DAY_MS),
)
PER_PAGE = 25
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@page
def show(request: HttpRequest) -> HttpResponse:
    return answer(request)


@page
def show_revert(request: HttpRequest, id: int) -> HttpResponse:
    return answer_revert(request, id)


def answer(request: HttpRequest, failed: dict[str, Any] | None = None) -> HttpResponse:
    """Render the page.

    `failed` has the name of a refused form, the problem, and the typed values.
    """
    query = request.GET if request.method == "GET" else QueryDict()
    is_live = not (query.get("from") or query.get("to"))
    range_ = read_range(query)
    before = _number(query, "before")
    points, has_more = timeline_data.list_points(limit=PER_PAGE, before=before, range_=None if is_live else range_)
    shown = timeline_data.get_timeline(range_=range_, is_cropped=is_live)
    here, end_ms = reverse("console:timeline"), range_.to_ms
    spans = [
        {"label": label, "query": _query(Range.between(end_ms - ms, end_ms)), "is_now": _is_about(range_, ms)}
        for label, ms in SPANS
    ]
    return render(
        request,
        "console/timeline.html",
        "Model",
        range=range_,
        is_live=is_live,
        timeline=shown,
        chart=shown.chart | {"zoom": f"{here}?from={{from}}&to={{to}}", "out": here + _query(range_.scaled(3))},
        spans=spans,
        moves={
            "earlier": _query(range_.moved(-0.5)),
            "later": _query(range_.moved(0.5)),
            "in": _query(range_.scaled(1 / 3)),
            "out": _query(range_.scaled(3)),
        },
        typed_range={"from": _typed(range_.from_ms), "to": _typed(range_.to_ms)},
        points=points,
        pinned=[] if before or not is_live else timeline_data.list_pinned(),
        next_page=_query(None if is_live else range_, before=points[-1].id) if has_more else "",
        switch=switch_data.get_switch(),
        failed=failed,
    )


def answer_again(form_name: str) -> Any:
    """Return an answer to a refused form: the page with the problem next to the form."""

    def again(request: HttpRequest, error: ApiError) -> HttpResponse:
        return answer(request, {"form": form_name, "problem": in_a_sentence(error), "values": request.POST.dict()})

    return again


def answer_revert(request: HttpRequest, id: int, failed: dict[str, Any] | None = None) -> HttpResponse:
    """Render the page of a revert or preview that is queued, running, done or failed."""
    found = revert_data.get_job(revert_id=id)
    what = "Preview" if found.is_preview else "Revert"
    return render(request, "console/revert.html", f"{what} {id}", job=found, failed=failed)


def read_range(query: QueryDict) -> Range:
    """Read the range that a query asks for. Raises Invalid."""
    from_ms, to_ms = read_moment(query, "from"), read_moment(query, "to")
    if to_ms is None:
        newest = timeline_data.newest_ms() or int(database_clock.now().timestamp() * 1000)
        to_ms = from_ms + HOUR_MS if from_ms is not None and from_ms + HOUR_MS < newest else newest + 1
    return Range.between(to_ms - HOUR_MS if from_ms is None else from_ms, to_ms)


def read_moment(query: QueryDict, name: str) -> int | None:
    """Read a time as ms since 1970 or as "2026-01-31T12:00" in UTC.

    An empty value is None. Raises Invalid.
    """
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        if text.isascii() and text.isdecimal() and len(text) <= 15:
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))
        else:
            at = datetime.fromisoformat(text[:40])
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if not EARLIEST <= at < LATEST:
            raise ValueError("no such year")
    except (ValueError, OverflowError):
        raise Invalid(fields={name: f"{text[:40]!r} is not a time. Write it as 2026-01-31T12:00, in UTC."}) from None
    return int(at.timestamp() * 1000)


def _number(query: QueryDict, name: str) -> int | None:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _query(range_: Range | None, **more: int) -> str:
    ends = {"from": range_.from_ms, "to": range_.to_ms} if range_ else {}
    return f"?{urlencode(ends | more)}"


def _typed(at_ms: int) -> str:
    """Return a time as an input of type datetime-local takes it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _is_about(range_: Range, ms: int) -> bool:
    return abs(range_.to_ms - range_.from_ms - ms) < 0.02 * ms
