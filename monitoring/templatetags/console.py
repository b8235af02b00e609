"""What the console's templates say the same way everywhere: moments, states, numbers, charts."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString, mark_safe

from monitoring.findings.actor_history import pseudonym

register = template.Library()

# Words that are states, and how they look. Never by colour alone: the word is always there, and a sign before it.
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
    """A state as word, sign and colour."""
    look, sign = _STATES.get(word, ("dim", "·"))
    return format_html('<span class="gs-state gs-{}"><span aria-hidden="true">{}</span> {}</span>', look, sign, word)


@register.simple_tag
def moment(at: datetime | int | None) -> SafeString:
    """A point in time (datetime, or ms since 1970): UTC as written here, in the viewer's zone where there is
    JavaScript, with UTC on hover."""
    if not at:
        return mark_safe("–")
    if isinstance(at, int):
        at = datetime.fromtimestamp(at / 1000, UTC)
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return format_html('<time datetime="{}" title="{}">{}</time>', at.astimezone(UTC).isoformat(), text, text)


@register.simple_tag(takes_context=True)
def actor(context: template.Context, id: str) -> SafeString:
    """Who acted: for reviewers the id, with a way to its page; for others a pseudonym."""
    if not context.get("may_review"):
        return format_html("{}", pseudonym(id))
    return format_html(
        '<a class="gs-id" href="{}">{}</a>', f"{reverse('console:actors')}?{urlencode({'id': id})}", id
    )


@register.filter
def utc(at_ms: int) -> str:
    """A point in time where no markup can be, as in an option: 2026-01-31 12:00:00."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@register.simple_tag
def item_url(item: str) -> str:
    """The page of an item, whatever its id: as a part of the path, browsers and servers would take some ids apart."""
    if "//" in item or item.strip(" ") != item or {".", ".."} & set(item.split("/")) or item.startswith("/"):
        return f"{reverse('console:items')}?{urlencode({'id': item})}"
    return reverse("console:item", args=[item])


@register.filter
def count(n: int | None) -> str:
    """1234567 as 1,234,567; nothing known as a dash."""
    return "–" if n is None else f"{n:,}"


@register.filter
def percent(share: float | None) -> str:
    """0.0123 as 1.2 %."""
    return "–" if share is None else f"{100 * share:.1f} %"


@register.filter
def seconds(n: float | None) -> str:
    """A duration as people say it: 0.8 s, 95 s, 12 min, 5 h, 3 days."""
    if n is None:
        return "–"
    for below, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if n < below:
            return f"{n / unit:.1f} s" if unit == 1 and n < 10 else f"{n / unit:.0f} {name}"
    return f"{n / 86_400:.0f} days"


@register.inclusion_tag("console/_chart.html")
def chart(name: str, label: str, data: dict[str, Any], height: str = "medium") -> dict[str, Any]:
    """A canvas drawn by static/console/charts.js, and the same figures as a table for who does not see it.

    data: {"kind": "line" | "bar", "stacked": bool, "x": [ms since 1970, ...], "unit": str,
           "series": [{"label": str, "look": "good" | "warn" | "bad" | "dim" | "one" | "two" | "three", "y": [...],
                       "axis": "left" | "right"}],
           "marks": [{"at": ms, "label": str, "look": str, "href": str}],
           "ticks": [{"at": ms, "label": str, "look": str, "href": str}]    small ones at the foot, not in the table
           "from": ms, "to": ms                             where the axis begins and ends; default: where x does
           "zoom": "?from={from}&to={to}", "out": "?..."    where a drag over the chart and a double click lead}
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
