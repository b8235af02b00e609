"""The page of one item, and the form that hides it.

The page shows the item's places, their price, the accounts behind its score, and its held events.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from monitoring import roles
from monitoring.console.data import item_data
from monitoring.console.pages import ConsoleRequest, form, in_a_sentence, page, render
from monitoring.operations import hide_item
from recommender.errors import ApiError, NotFound
from recommender.ids import MAX_ID
from recommender.intake import hidden_items

HIDDEN_SHOWN = 50


@page
def search(request: HttpRequest) -> HttpResponse:
    """List items to choose from, or show one page with `?id=`.

    Some ids cannot be part of a path; see the template tag `item_url`.
    """
    if "id" in request.GET:
        return _answer(request, request.GET["id"])
    text = request.GET.get("q", "").strip()[:MAX_ID]
    found = item_data.search(text=text) if text else []
    best = [] if text else item_data.list_best()
    hidden = [] if text else hidden_items.list_hidden(limit=HIDDEN_SHOWN + 1)
    return render(
        request,
        "console/items.html",
        "Items",
        q=text,
        found=found,
        best=best,
        hidden=hidden[:HIDDEN_SHOWN],
        is_more_hidden=len(hidden) > HIDDEN_SHOWN,
    )


@page
def show(request: HttpRequest, id: str) -> HttpResponse:
    return _answer(request, id)


def _hide_again(request: HttpRequest, error: ApiError) -> HttpResponse:
    failed = {"problem": in_a_sentence(error), "note": request.POST.get("note", "")}
    return _answer(request, request.POST.get("item", ""), failed)


@form(roles.OPERATE, again=_hide_again)
def hide(request: ConsoleRequest) -> str:
    is_hidden, item_id = request.POST.get("hidden") == "1", request.POST.get("item", "")
    note = request.POST.get("note", "")
    item = hide_item.set_hidden(by=request.user, note=note, item_id=item_id, is_hidden=is_hidden)
    if is_hidden:
        return "Hidden: the item leaves every list within a second. It stays off until an operator shows it."
    if item.is_hidden:
        return "No operator hides the item any more, but the site still does."
    if item.deleted_at is not None:
        return "No operator hides the item any more. The site deleted it, so it stays off the lists."
    return "Shown: the item can be listed again."


def _answer(request: HttpRequest, id: str, failed: dict[str, Any] | None = None) -> HttpResponse:
    if not 1 <= len(id) <= MAX_ID:
        raise NotFound(f"There is no such item. An item's id has 1 to {MAX_ID} characters.")
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
