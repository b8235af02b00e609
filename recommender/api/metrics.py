"""The metrics that Prometheus reads at /metrics.

They have two sources. The first is the counters of the web processes. They are shared through files when
PROMETHEUS_MULTIPROC_DIR is set, otherwise they are those of this process. The second is `StateCollector`, which asks
the database and the view store at each scrape. A scrape never fails because a server is down: the metrics that need
it are left out, and `groundswell_database_up` shows a missing database.
"""

from collections.abc import Iterator
from math import nan
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recommender import database_clock
from recommender.counters import all_counters
from recommender.database_outage import database
from recommender.errors import Unavailable
from recommender.learning import learner_state
from recommender.learning.checkpoints import piece_table
from recommender.publishing import published_boards
from recommender.upkeep import server_warnings
from recommender.upkeep.server_warnings import ServerFigures


class StateCollector(Collector):
    """Collect the present state of the learners and the view."""

    def collect(self) -> Iterator[Metric]:
        try:
            with database():
                learners = learner_state.list_learner_states()
                backlog = learner_state.get_backlog()
                database_clock.learn()
                figures = server_warnings.get_figures()
                stored_bytes = piece_table.get_stored_bytes()
        except Unavailable:
            yield GaugeMetricFamily("groundswell_database_up", "1 if PostgreSQL answers, else 0.", 0)
        else:
            yield GaugeMetricFamily("groundswell_database_up", "1 if PostgreSQL answers, else 0.", 1)
            yield GaugeMetricFamily("groundswell_backlog_events", "Events not learned yet, approximately.", backlog)
            yield GaugeMetricFamily(
                "groundswell_checkpoint_stored_bytes",
                "Bytes of all pieces of checkpoints, each counted once.",
                stored_bytes,
            )
            yield from _of_learners(learners)
            yield from _of_servers(figures)
        head = published_boards.reader().head()
        if head is not None:
            age_s = max(0.0, database_clock.unix_s() - head.as_of)
            yield GaugeMetricFamily("groundswell_view_age_seconds", "Age of the served boards.", age_s)
            n_frozen = len(head.frozen_scopes)
            yield GaugeMetricFamily("groundswell_frozen_scopes", "Frozen lists of one category or country.", n_frozen)
            yield GaugeMetricFamily("groundswell_view_version", "Version of the boards.", head.version)


def _of_servers(figures: ServerFigures) -> Iterator[Metric]:
    oldest, space, used, reach = figures.transaction, figures.space, figures.connections, figures.reach
    known: dict[str, tuple[str, Any]] = {
        "oldest_transaction_seconds": (
            "Age of the oldest open transaction that has written, 0 if there is none.",
            oldest.open_s if oldest else 0.0,
        ),
        "database_bytes": ("Size of the database.", space and space.n_bytes),
        "database_bytes_left": ("Bytes left to its limit, or on its disk.", _or_nan(space and space.left_bytes)),
        "database_growth_bytes": ("Growth of the database a day.", _or_nan(space and space.growth_bytes)),
        "database_days_left": ("Days until the database is full.", _or_nan(space and space.days_left)),
        "connections_used": ("Connections in use, where they are closest to a limit.", used and used.n_used),
        "connections_limit": ("The limit on these connections.", used and used.n_most),
        "transaction_id_age": ("Age of the oldest transaction id.", figures.xid_age and figures.xid_age[1]),
        "log_kept_days": ("Age of the oldest partition of the log.", reach and reach.kept_days),
        "log_ahead_days": ("Days for which partitions are made already.", reach and reach.ahead_days),
        "log_needed_days": ("Age of the oldest event that a learner needs.", _or_nan(reach and reach.needed_days)),
        "checkpoints_beyond_log": ("Kept checkpoints from before the log begins.", reach and reach.n_beyond),
        "view_store_bytes": ("Memory in use in the view store.", figures.store and figures.store.n_bytes),
        "view_store_limit_bytes": ("Memory that the view store may use.", figures.store and figures.store.n_most),
    }
    for name, (text, value) in known.items():
        if value is not None:
            yield GaugeMetricFamily(f"groundswell_{name}", text, value)
    age = GaugeMetricFamily("groundswell_chore_age_seconds", "Time since a chore was done.", labels=["chore"])
    failures = GaugeMetricFamily("groundswell_chore_failures", "Failures since then.", labels=["chore"])
    for chore in figures.chores:
        failures.add_metric([chore.name], chore.n_failures)
        if chore.done_s is not None:
            age.add_metric([chore.name], chore.done_s)
    warnings = GaugeMetricFamily("groundswell_warning", "1 for each warning of /health/ready.", labels=["warning"])
    for warning in server_warnings.warn(figures):
        warnings.add_metric([warning.name], 1)
    failed = GaugeMetricFamily("groundswell_failed_jobs", "Failed and not made good yet.", labels=["job"])
    for kind in ("erasure", "revert"):
        failed.add_metric([kind], sum(job.kind == kind for job in figures.failed_jobs))
    yield from (age, failures, failed, warnings)


def _or_nan(value: Any) -> float:
    """Return a figure, or Prometheus' word for one that is not known."""
    return nan if value is None else float(value)


def _of_learners(learners: list[learner_state.LearnerState]) -> Iterator[Metric]:
    lag = GaugeMetricFamily("groundswell_lag_seconds", "Age of the oldest event not learned yet.", labels=["shard"])
    frozen = GaugeMetricFamily("groundswell_frozen", "1 if learning is frozen, else 0.", labels=["shard"])
    steps = CounterMetricFamily("groundswell_steps", "Steps committed.", labels=["shard"])
    learned = CounterMetricFamily("groundswell_events_learned", "Events learned.", labels=["shard"])
    step_s = GaugeMetricFamily(
        "groundswell_step_seconds", "Duration of the last step that had events.", labels=["shard"]
    )
    screened = CounterMetricFamily(
        "groundswell_events_screened", "Events by the screen's verdict on them.", labels=["shard", "verdict"]
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
    yield from _of_checkpoints(learners)
    yield from _of_quality(learners)


def _of_checkpoints(learners: list[learner_state.LearnerState]) -> Iterator[Metric]:
    age = GaugeMetricFamily("groundswell_checkpoint_age_seconds", "Age of the active checkpoint.", labels=["shard"])
    size = GaugeMetricFamily("groundswell_checkpoint_bytes", "Bytes of the active checkpoint.", labels=["shard"])
    unchanged = GaugeMetricFamily(
        "groundswell_checkpoint_share_unchanged",
        "Share of the active checkpoint that was stored before it was written.",
        labels=["shard"],
    )
    failures = CounterMetricFamily(
        "groundswell_checkpoint_failures", "Checkpoints that could not be written.", labels=["shard"]
    )
    for learner in learners:
        labels, state = [str(learner.shard)], learner.checkpoint
        failures.add_metric(labels, state.n_failures)
        if state.age_s is not None:
            age.add_metric(labels, state.age_s)
            size.add_metric(labels, state.n_bytes)
        if state.share_unchanged is not None:
            unchanged.add_metric(labels, state.share_unchanged)
    yield from (age, size, unchanged, failures)


def _of_quality(learners: list[learner_state.LearnerState]) -> Iterator[Metric]:
    hit_rate = GaugeMetricFamily(
        "groundswell_hit_rate", "HR@20 of this hour of stream time.", labels=["shard", "population"]
    )
    gauges = {
        name: GaugeMetricFamily(f"groundswell_{name}", text, labels=["shard"])
        for name, text in (
            ("drift", "The drift statistic, in nats. 6 is an alert, 9 or more a stop."),
            ("pressure", "Events that the screen almost stopped, compared with the usual number (1)."),
            ("low_trust_share", "Share of the list's mass that comes from actors with little trust."),
        )
    }
    alarms = GaugeMetricFamily("groundswell_alarms", "Drift alarms in the recorded steps.", labels=["shard", "level"])
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


def render() -> bytes:
    """Return all metrics in Prometheus' text format."""
    state = CollectorRegistry()
    state.register(StateCollector())
    return generate_latest(all_counters()) + generate_latest(state)
