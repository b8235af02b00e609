"""The sidebar: the console's pages, then the tables that have pages of their own."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from monitoring import roles
from monitoring.models import Finding
from recommender.errors import ApiError

_PAGES = (
    ("Overview", "monitoring", "console:overview"),
    ("Findings", "flag", "console:queue"),
    ("Items", "trending_up", "console:items"),
    ("Actors", "group", "console:actors"),
    ("Model", "timeline", "console:timeline"),
    ("Audit", "verified", "console:audit"),
)
_TABLES = (
    ("Described items", "inventory_2", "admin:recommender_item_changelist", "recommender.view_item"),
    ("API keys", "key", "admin:recommender_apikey_changelist", "recommender.view_apikey"),
    ("Messages", "mail", "admin:monitoring_notification_changelist", "monitoring.view_notification"),
    ("Accounts", "person", "admin:auth_user_changelist", "auth.view_user"),
)


def of(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar for the account of a request."""
    try:
        roles.require(request.user, roles.VIEW_CONSOLE)
        pages = [_entry(request, *each) for each in _PAGES]
    except ApiError:
        pages = []
    tables = [
        _entry(request, title, icon, name)
        for title, icon, name, permission in _TABLES
        if request.user.has_perm(permission)
    ]
    if n_open := Finding.objects.filter(state=Finding.State.OPEN)[:1000].count():
        for each in pages[1:2]:
            each["badge"] = f"{n_open}" if n_open < 1000 else "999+"
    return [{"title": "Console", "items": pages}, {"title": "Tables", "separator": True, "items": tables}]


def _entry(request: HttpRequest, title: str, icon: str, name: str) -> dict[str, Any]:
    """Return one entry, marked as active on its page and on the pages below it.

    The theme itself would mark the overview on all pages, because its path is the beginning of every other path.
    """
    link = reverse(name)
    is_here = request.path == link if name == "console:overview" else request.path.startswith(link)
    return {"title": title, "icon": icon, "link": link, "active": is_here}
