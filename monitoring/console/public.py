"""The public page: the trending list, its age and its prices, for everyone.

    the process's reader of the view (its last good copy if the store is away) ──> places, prices, age
    titles, from PostgreSQL, kept for TITLES_KEPT_S; ids if it is away

The page needs no login and no session, and asks the database nothing if it knows the titles.
"""

from math import inf
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from monitoring.console.data.boards_data import describe_places, get_titles
from recommender import database_clock
from recommender.database_outage import database
from recommender.errors import Unavailable
from recommender.process_state import clock, remembered
from recommender.publishing import published_boards

TITLES_KEPT_S = 60.0
MAX_TITLES = 1_000
OLD_S = 10.0  # a list older than this is shown as not updated

_titles: dict[str, tuple[float, str]] = {}


def show(request: HttpRequest) -> HttpResponse:
    """Show the page, or (`?part=1`) only the list."""
    template = "console/_public.html" if request.GET.get("part") == "1" else "console/public.html"
    response = render(request, template, _list())
    response["Cache-Control"] = "no-store"
    return response


@remembered
def forget() -> None:
    """Forget the titles, so that they are read again."""
    _titles.clear()


def _list() -> dict[str, Any]:
    reader = published_boards.reader()
    head, board = reader.head(), reader.board("")
    if head is None or board is None or not board.items:
        return {"places": [], "state": head.state if head else ""}
    places = describe_places(board)
    titles = _titles_of([each["item"] for each in places])
    age_s = max(0.0, database_clock.unix_s() - head.as_of)
    return {
        "places": [each | {"title": titles.get(each["item"], each["item"])} for each in places],
        "state": head.state,
        "age_s": age_s,
        "is_old": age_s > OLD_S,
        "as_of_ms": int(1000 * head.as_of),
    }


def _titles_of(items: list[str]) -> dict[str, str]:
    now = clock()
    unknown = [item for item in items if _titles.get(item, (-inf, ""))[0] < now]
    if unknown:
        try:
            with database():
                database_clock.learn()
                found = get_titles(unknown)
        except Unavailable:
            return {item: title for item in items if (title := _titles.get(item, (0.0, ""))[1])}
        if len(_titles) + len(found) > MAX_TITLES:
            _titles.clear()
        _titles.update({item: (now + TITLES_KEPT_S, title) for item, title in found.items()})
    return {item: _titles[item][1] for item in items if item in _titles}
