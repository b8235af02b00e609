"""Tags and filters for parts that all console templates show in the same way."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString, mark_safe

from monitoring.findings.actor_history import pseudonym

register = template.Library()

# The look of each state. Colour is never alone: the word is always shown, with a sign before it.
_STATES = {
    "learning": ("good", "●"),
    "frozen": ("bad", "■"),
    "reverting": ("warn", "↺"),
    "open": ("warn", "○"),
    "released": ("good", "↑"),
    "confirmed": ("bad", "✕"),
    "expired": ("dim", "–"),
    "high": ("bad", "▲"),
    "medium": ("warn", "◆"),
    "low": ("dim", "▽"),
    "admit": ("good", "✓"),
    "hold": ("warn", "‖"),
    "quarantine": ("bad", "✕"),
    "intact": ("good", "✓"),
    "tampered": ("bad", "✕"),
    "queued": ("dim", "…"),
    "running": ("warn", "▶"),
    "done": ("good", "✓"),
    "failed": ("bad", "✕"),
    "held back": ("bad", "‖"),
}


@register.simple_tag
def state(word: str) -> SafeString:
    """Show a state as word, sign and colour."""
    look, sign = _STATES.get(word, ("dim", "·"))
    return format_html('<span class="gs-state gs-{}"><span aria-hidden="true">{}</span> {}</span>', look, sign, word)


@register.simple_tag
def moment(at: datetime | int | None) -> SafeString:
    """Show a point in time (datetime, or ms since 1970), with UTC on hover.

    The page contains UTC. With JavaScript the browser shows the viewer's zone.
    """
    if not at:
        return mark_safe("–")
    if isinstance(at, int):
        at = datetime.fromtimestamp(at / 1000, UTC)
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" title="{}">{}</time>', at.astimezone(UTC).isoformat(), text, text)


@register.simple_tag(takes_context=True)
def actor(context: template.Context, id: str) -> SafeString:
    """Show an actor: to reviewers its id with a link, to others a pseudonym."""
    if not context.get("may_review"):
        return format_html("{}", pseudonym(id))
    return format_html(
        '<a class="gs-id" href="{}">{}</a>', f"{reverse('console:actors')}?{urlencode({'id': id})}", id
    )


@register.filter
def utc(at_ms: int) -> str:
    """Write a point in time without markup, as for an option: 2026-01-31 12:00:00."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@register.simple_tag
def item_url(item: str) -> str:
    """Return the page of an item, for any id.

    Some ids cannot be part of a path, because browsers and servers would change them. Their page has the id in the
    query.
    """
    if "//" in item or item.strip(" ") != item or {".", ".."} & set(item.split("/")) or item.startswith("/"):
        return f"{reverse('console:items')}?{urlencode({'id': item})}"
    return reverse("console:item", args=[item])


@register.filter
def count(n: int | None) -> str:
    """Write 1234567 as 1,234,567, and None as a dash."""
    return "–" if n is None else f"{n:,}"


@register.filter
def percent(share: float | None) -> str:
    """Write 0.0123 as 1.2 %."""
    return "–" if share is None else f"{100 * share:.1f} %"


@register.filter
def seconds(n: float | None) -> str:
    """Write a duration as people say it: 0.8 s, 95 s, 12 min, 5 h, 3 days."""
    if n is None:
        return "–"
    for below, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if n < below:
            return f"{n / unit:.1f} s" if unit == 1 and n < 10 else f"{n / unit:.0f} {name}"
    return f"{n / 86_400:.0f} days"


@register.inclusion_tag("console/_chart.html")
def chart(name: str, label: str, data: dict[str, Any], height: str = "medium") -> dict[str, Any]:
    """Draw a chart by static/console/charts.js, with the same figures as a table.

    data: {"kind": "line" | "bar", "stacked": bool, "x": [ms since 1970, ...], "unit": str,
           "series": [{"label": str, "look": "good" | "warn" | "bad" | "dim" | "one" | "two" | "three", "y": [...],
                       "axis": "left" | "right"}],
           "marks": [{"at": ms, "label": str, "look": str, "href": str}],
           "ticks": [{"at": ms, "label": str, "look": str, "href": str}]    small ones at the bottom, not in the table
           "from": ms, "to": ms                             the ends of the axis; default: the ends of x
           "zoom": "?from={from}&to={to}", "out": "?..."    the targets of a drag and of a double click}
    """
    rows = list(zip(data["x"], *(each["y"] for each in data["series"]), strict=True))
    every = max(1, len(rows) // 20)
    return {
        "name": name,
        "label": label,
        "height": height,
        "data": json_script(data, f"{name}-data"),
        "series": [each["label"] for each in data["series"]],
        "rows": rows[::every],
        "marks": data.get("marks", []),
        "zoom": data.get("zoom", ""),
    }
