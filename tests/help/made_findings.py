"""Findings made directly, for pages that only list them."""

from itertools import count

from monitoring.models import Finding

_ms = count(1_700_000_000_000, 60_000)


def make_finding(**more) -> Finding:
    """Make an open campaign that need not be counted again."""
    at_ms = next(_ms)
    row = {
        "kind": Finding.Kind.CAMPAIGN,
        "severity": Finding.Severity.HIGH,
        "title": "30 accounts on 'target' within 60 s.",
        "item": "target",
        "first_ms": at_ms,
        "last_ms": at_ms,
        "exposure": 2.0,
        "n_events": 30,
        "n_quarantined": 30,
        "is_stale": False,
    }
    finding = Finding.objects.create(**row | more)
    if finding.item:
        finding.items.create(
            item=finding.item, first_ms=finding.first_ms, last_ms=finding.last_ms, n_events=finding.n_events
        )
    return finding


def alarm(**more) -> Finding:
    """Make an alarm. It has no events, so a decision on it needs no log."""
    return make_finding(kind=Finding.Kind.DRIFT, title="Predictions fell.", item="", n_events=0, **more)
