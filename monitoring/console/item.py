"""One item: where it stands, what its place would cost, who is behind it, what was held of it; and acts on it."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from monitoring import roles
from monitoring.console.data import item_data
from monitoring.console.pages import ConsoleRequest, form, in_a_sentence, page, render
from monitoring.operations import hide_item
from recommender.errors import ApiError, NotFound
from recommender.ids import MAX_ID


@page
def search(request: HttpRequest) -> HttpResponse:
    """A list to choose from; `?id=` is the page of an id that no path can hold (see the template tag `item_url`)."""
    if "id" in request.GET:
        return _answer(request, request.GET["id"])
    text = request.GET.get("q", "").strip()[:MAX_ID]
    found = item_data.search(text=text) if text else []
    best = [] if text else item_data.list_best()
    return render(request, "console/items.html", "Items", q=text, found=found, best=best)


@page
def show(request: HttpRequest, id: str) -> HttpResponse:
    return _answer(request, id)


def _hide_again(request: HttpRequest, error: ApiError) -> HttpResponse:
    failed = {"problem": in_a_sentence(error), "note": request.POST.get("note", "")}
    return _answer(request, request.POST.get("item", ""), failed)


@form(roles.OPERATE, again=_hide_again)
def hide(request: ConsoleRequest) -> str:
    is_hidden, item_id = request.POST.get("hidden") == "1", request.POST.get("item", "")
    hide_item.set_hidden(by=request.user, note=request.POST.get("note", ""), item_id=item_id, is_hidden=is_hidden)
    return "Hidden: it leaves every list within a second." if is_hidden else "Shown: it may be listed again."


def _answer(request: HttpRequest, id: str, failed: dict[str, Any] | None = None) -> HttpResponse:
    if not 1 <= len(id) <= MAX_ID:
        raise NotFound(f"An item's id has 1 to {MAX_ID} characters.")
    item = item_data.describe(id)
    return render(
        request,
        "console/item.html",
        (item.title if item else "") or id,
        id=id,
        item=item,
        where=item_data.get_standing(item_id=id, item=item),
        bars=item_data.get_bars(item_id=id, shards=settings.SHARDS),
        findings=item_data.list_findings(item_id=id),
        hidings=item_data.list_hidings(item_id=id),
        failed=failed,
        is_web=bool(item and item.url.startswith(("http://", "https://"))),
    )
