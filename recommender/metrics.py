"""What Prometheus is told at /metrics.

Two sources: counters of the web processes (shared through files when PROMETHEUS_MULTIPROC_DIR is set, else this
process's own), and `State`, which asks the database and the view at the time of the scrape. What cannot be asked is
left out and `groundswell_database_up` says so: a scrape never fails because a server is down.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from recommender import published, selectors
from recommender.errors import Unavailable
from recommender.outage import database

disable_created_metrics()  # a second series for each counter, which nobody asked for
_IS_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ
_own = CollectorRegistry()

ACCEPTED = Counter("groundswell_events_accepted", "Events stored.", registry=_own)
DUPLICATES = Counter("groundswell_events_duplicate", "Events whose event_id was known.", registry=_own)
REJECTED = Counter("groundswell_events_rejected", "Events not taken, by reason.", ["code"], registry=_own)
ERRORS = Counter("groundswell_errors", "Requests answered with an error, by code.", ["code"], registry=_own)
LISTS = Counter("groundswell_lists_served", "Lists served.", ["list"], registry=_own)
TRENDING, RECOMMENDATIONS, SIMILAR = (LISTS.labels(name) for name in ("trending", "recommendations", "similar"))
RECOMMENDED = Counter("groundswell_recommended_items", "Items shown, by source.", ["source"], registry=_own)
RECOMMENDED_CLICKS = Counter(
    "groundswell_recommended_clicks", "Clicks on items shown, by their source.", ["source"], registry=_own
)
UNLIMITED = Counter(
    "groundswell_rate_unlimited",
    "Requests let through because the store of the rates is away.",
    registry=_own,
)


class State(Collector):
    """The learner and the view, as they are now."""

    def collect(self) -> Iterator[Metric]:
        try:
            with database():
                learners = selectors.list_learner_states()
                backlog = selectors.get_backlog()
        except Unavailable:
            yield GaugeMetricFamily("groundswell_database_up", "Whether PostgreSQL answers.", 0)
        else:
            yield GaugeMetricFamily("groundswell_database_up", "Whether PostgreSQL answers.", 1)
            yield GaugeMetricFamily("groundswell_backlog_events", "Events not learned yet, about.", backlog)
            yield from _of_learners(learners)
        head = published.reader().head()
        if head is not None:
            age_s = max(0.0, time.time() - head.as_of)
            yield GaugeMetricFamily("groundswell_view_age_seconds", "Age of what is served.", age_s)
            n_frozen = len(head.frozen_scopes)
            yield GaugeMetricFamily(
                "groundswell_frozen_scopes", "Lists of one category or country that stand still.", n_frozen
            )
            yield GaugeMetricFamily("groundswell_view_version", "Version of the boards.", head.version)


def _of_learners(learners: list[selectors.LearnerState]) -> Iterator[Metric]:
    lag = GaugeMetricFamily("groundswell_lag_seconds", "Age of the oldest event not learned yet.", labels=["shard"])
    frozen = GaugeMetricFamily("groundswell_frozen", "Whether learning is stopped.", labels=["shard"])
    steps = CounterMetricFamily("groundswell_steps", "Steps committed.", labels=["shard"])
    learned = CounterMetricFamily("groundswell_events_learned", "Events learned.", labels=["shard"])
    step_s = GaugeMetricFamily(
        "groundswell_step_seconds", "Duration of the last step that had events.", labels=["shard"]
    )
    screened = CounterMetricFamily(
        "groundswell_events_screened", "Events by what the screen did with them.", labels=["shard", "verdict"]
    )
    for learner in learners:
        labels = [str(learner.shard)]
        lag.add_metric(labels, learner.lag_s)
        frozen.add_metric(labels, float(learner.is_frozen))
        steps.add_metric(labels, learner.step)
        learned.add_metric(labels, learner.n_events)
        for verdict, n in learner.verdicts.items():
            screened.add_metric([*labels, verdict], n)
        if learner.step_s is not None:
            step_s.add_metric(labels, learner.step_s)
    yield from (lag, frozen, steps, learned, screened, step_s)
    yield from _of_quality(learners)


def _of_quality(learners: list[selectors.LearnerState]) -> Iterator[Metric]:
    hit_rate = GaugeMetricFamily(
        "groundswell_hit_rate", "HR@20 of this hour of stream time.", labels=["shard", "population"]
    )
    gauges = {
        name: GaugeMetricFamily(f"groundswell_{name}", text, labels=["shard"])
        for name, text in (
            ("drift", "The drift statistic, in nats; an alert from 6, a stop from 9 and more."),
            ("pressure", "Events nearly stopped, 1 = as many as always."),
            ("low_trust_share", "Of the list's mass, the share of actors who earned little."),
        )
    }
    alarms = GaugeMetricFamily("groundswell_alarms", "Drift alarms in the steps kept.", labels=["shard", "level"])
    for learner in learners:
        shard, row = str(learner.shard), learner.quality
        for level, n in learner.n_alarms.items():
            alarms.add_metric([shard, level], n)
        if row is None:
            continue
        for population, rate in (
            ("all", row.hit_rate),
            ("trusted", row.trusted_hit_rate),
            ("canary", row.canary_hit_rate),
        ):
            hit_rate.add_metric([shard, population], rate)
        for name, gauge in gauges.items():
            gauge.add_metric([shard], getattr(row, name))
    yield from (hit_rate, *gauges.values(), alarms)


@dataclass(frozen=True, slots=True)
class Recommended:
    """Of one source of recommendations: items shown, and clicks on them."""

    source: str
    n_shown: int
    n_clicks: int


def read_recommended() -> list[Recommended]:
    """By source, since the web processes started; `not_credited` has the clicks that named a list which was not ours,
    or too old."""
    counts = {
        (sample.name, sample.labels["source"]): int(sample.value)
        for metric in _counters().collect()
        for sample in metric.samples
        if sample.name in (_SHOWN, _CLICKED)
    }
    return [
        Recommended(source, counts.get((_SHOWN, source), 0), counts.get((_CLICKED, source), 0))
        for source in sorted({source for _, source in counts})
    ]


_SHOWN, _CLICKED = "groundswell_recommended_items_total", "groundswell_recommended_clicks_total"


def _counters() -> CollectorRegistry:
    """Those of the web processes, all of them where they share theirs."""
    if not _IS_SHARED:
        return _own
    shared = CollectorRegistry()
    MultiProcessCollector(shared)
    return shared


def render() -> bytes:
    """Everything, in Prometheus' text format."""
    state = CollectorRegistry()
    state.register(State())
    return generate_latest(_counters()) + generate_latest(state)
