"""The Prometheus counters of the web processes.

Any module counts in them, and /metrics shows them (`recommender.api.metrics`). The processes share their counters
through files when PROMETHEUS_MULTIPROC_DIR is set. Otherwise each process has its own.
"""

import os
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector

disable_created_metrics()  # a second series for each counter, which no one needs
_IS_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ
_own = CollectorRegistry()
ACCEPTED = Counter("groundswell_events_accepted", "Events stored.", registry=_own)
DUPLICATES = Counter("groundswell_events_duplicate", "Events whose event_id was known.", registry=_own)
REJECTED = Counter("groundswell_events_rejected", "Events rejected, by code.", ["code"], registry=_own)
ERRORS = Counter("groundswell_errors", "Requests answered with an error, by code.", ["code"], registry=_own)
LISTS = Counter("groundswell_lists_served", "Lists served.", ["list"], registry=_own)
TRENDING, RECOMMENDATIONS, SIMILAR = (LISTS.labels(name) for name in ("trending", "recommendations", "similar"))
RECOMMENDED = Counter("groundswell_recommended_items", "Items shown, by source.", ["source"], registry=_own)
RECOMMENDED_CLICKS = Counter(
    "groundswell_recommended_clicks", "Clicks on items shown, by their source.", ["source"], registry=_own
)
UNLIMITED = Counter(
    "groundswell_rate_unlimited",
    "Requests let through without a rate limit, because the view store was away.",
    registry=_own,
)


@dataclass(frozen=True, slots=True)
class Recommended:
    """One source of recommendations: the items it showed, and the clicks on them."""

    source: str
    n_shown: int
    n_clicks: int


def read_recommended() -> list[Recommended]:
    """Count items shown and clicks on them by source.

    The counts begin when the web processes start. The source `not_credited` has the clicks that named a list
    which was not valid for them.
    """
    counts = {
        (sample.name, sample.labels["source"]): int(sample.value)
        for metric in all_counters().collect()
        for sample in metric.samples
        if sample.name in (_SHOWN, _CLICKED)
    }
    return [
        Recommended(source, counts.get((_SHOWN, source), 0), counts.get((_CLICKED, source), 0))
        for source in sorted({source for _, source in counts})
    ]


_SHOWN, _CLICKED = "groundswell_recommended_items_total", "groundswell_recommended_clicks_total"


def all_counters() -> CollectorRegistry:
    """Return the registry of all web processes, or of this one if they share none."""
    if not _IS_SHARED:
        return _own
    shared = CollectorRegistry()
    MultiProcessCollector(shared)
    return shared
