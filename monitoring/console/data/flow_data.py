"""The events that come in, those that are stopped, and the quality of the list.

Figures are for now, and for each minute of the last hour.

    Watched, by (shard, stream_ms) ──> the step an hour ago ──> Steps since, by number      ──> events a minute
                                                          └──> EventVerdicts since, by ordinal ──> stopped events
    learner_state.list_learner_states ──> lag, waiting, quality

These functions never read the log. Of ten million events they read only the last hour's steps (at most five a second
and shard) and the verdicts on suspicious events. Each process keeps an hour for KEPT_S, because a chart by the minute
has nothing new sooner. Times are stream time in ms, which is the server's clock.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from monitoring.findings.wording import NO_FINDING
from recommender.core.vocabulary import ADMIT, HOLD, HOUR_MS, MINUTE_MS, QUARANTINE, SECOND_MS
from recommender.learning import learner_state, step_figures, verdict_counts
from recommender.models import Learner, Step, Watched
from recommender.process_state import remembered

NOW_MS, LATELY_MS = 10 * SECOND_MS, 5 * MINUTE_MS  # the spans of `rate_now` and `rate_lately`
HELD_WITHIN_MS = 5 * MINUTE_MS  # an event is held for at most a minute of stream time, plus the time of steps
MAX_VERDICTS = 200_000  # the newest verdicts of a shard
KEPT_S = 10.0


@dataclass(frozen=True, slots=True)
class Flow:
    """The flow of events now.

    rate_now, rate_lately: events learned per second, over the last seconds and minutes of stream time.
    lag_s: age of the oldest event that is not learned. n_held: events that wait for a verdict.
    """

    rate_now: float
    rate_lately: float
    lag_s: float
    n_waiting: int
    n_held: int
    quality: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Hour:
    """The events of the last hour that were held and let in, are held, or are removed.

    It has two charts (see the template tag `chart`).
    """

    n_let_in: int
    n_waiting: int
    n_out: int
    stopped: dict[str, Any]
    quality: dict[str, Any]


def get_flow() -> Flow:
    """Read the flow of events now, in about ten indexed reads a shard."""
    states = learner_state.list_learner_states()
    now_ms = _stream_ms()
    n_now = n_lately = n_held = 0
    for state in states:
        n_shard_now, n_shard_lately = step_figures.count_lately(
            shard=state.shard,
            after_step=_step_before(state.shard, now_ms - LATELY_MS),
            now_ms=now_ms - NOW_MS,
            lately_ms=now_ms - LATELY_MS,
        )
        n_now, n_lately = n_now + n_shard_now, n_lately + n_shard_lately
        n_held += _count_held(state.shard)
    return Flow(
        rate_now=1000 * n_now / NOW_MS,
        rate_lately=1000 * n_lately / LATELY_MS,
        lag_s=max((state.lag_s for state in states), default=0.0),
        n_waiting=learner_state.get_backlog(),
        n_held=n_held,
        quality=_quality([state.quality for state in states if state.quality]),
    )


def get_hour() -> Hour:
    """Return the last hour, at most KEPT_S old."""
    hour = cache.get("monitoring:hour")
    if hour is None:
        hour = _read_hour()
        cache.set("monitoring:hour", hour, KEPT_S)
    assert isinstance(hour, Hour)
    return hour


@remembered
def forget() -> None:
    """Forget the hour, so that it is read again."""
    cache.delete("monitoring:hour")


def _read_hour() -> Hour:
    now_ms = _stream_ms()
    since_ms = (now_ms - HOUR_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS
    events: dict[int, int] = defaultdict(int)
    stopped: dict[tuple[int, int], int] = defaultdict(int)
    for shard in Learner.objects.order_by("shard").values_list("shard", flat=True):
        step = _step_before(shard, since_ms)
        by_minute = step_figures.count_by_minute(shard=shard, after_step=step, since_ms=since_ms)
        for minute, n_events in by_minute.items():
            events[minute] += n_events
        ordinal = verdict_counts.keep_newest(shard=shard, ordinal=_ordinal_after(shard, step), limit=MAX_VERDICTS)
        for each in verdict_counts.count_stopped(
            shard=shard, after_step=step, since_ms=since_ms, ordinal=ordinal, reasons=~NO_FINDING
        ):
            stopped[each.at_ms, each.verdict] += each.n
    first = min(events, default=now_ms // MINUTE_MS * MINUTE_MS)
    minutes = list(range(first, now_ms // MINUTE_MS * MINUTE_MS + 1, MINUTE_MS)) if events else []
    totals = {verdict: sum(n for (_, each), n in stopped.items() if each == verdict) for verdict in (0, 1, 2)}
    series = (("held, then let in", "good", ADMIT), ("held", "warn", HOLD), ("removed", "bad", QUARANTINE))
    return Hour(
        n_let_in=totals[ADMIT],
        n_waiting=totals[HOLD],
        n_out=totals[QUARANTINE],
        stopped={
            "kind": "bar",
            "stacked": True,
            "unit": "events a minute",
            "x": minutes,
            "series": [
                {"label": label, "look": look, "y": [stopped[minute, verdict] for minute in minutes]}
                for label, look, verdict in series
            ],
        },
        quality=_quality_chart(since_ms),
    )


def _quality(rows: list[Watched]) -> list[dict[str, Any]]:
    """Average the hit rates of the last hour over all shards, weighted by predictions."""
    found = []
    for label, rate, n, none in _POPULATIONS:
        total = sum(getattr(row, n) for row in rows)
        hits = sum(getattr(row, n) * getattr(row, rate) for row in rows)
        found.append({"label": label, "n": total, "rate": hits / total if total else None, "none": none})
    return found


_POPULATIONS = (
    ("all readers", "hit_rate", "n_predictions", "no clicks yet"),
    ("trusted readers", "trusted_hit_rate", "n_trusted", "readers earn trust by coming back on other days"),
    ("secret panel", "canary_hit_rate", "n_canary", "no clicks by the panel yet"),
)


def _quality_chart(since_ms: int) -> dict[str, Any]:
    """Chart the quality by the minute, with the last figures of each minute.

    At most 720 rows a shard are read.
    """
    shards = list(Learner.objects.order_by("shard").values_list("shard", flat=True))
    by_minute: dict[int, dict[int, Watched]] = defaultdict(dict)
    for row in Watched.objects.filter(shard__in=shards, stream_ms__gte=since_ms).order_by("stream_ms"):
        by_minute[row.stream_ms // MINUTE_MS * MINUTE_MS][row.shard] = row
    figures = {minute: _quality(list(rows.values())) for minute, rows in by_minute.items()}
    return {
        "kind": "line",
        "unit": "hit rate, %",
        "x": list(figures),
        "series": [
            {"label": label, "look": look, "y": [_percent(each[place]["rate"]) for each in figures.values()]}
            for place, ((label, *_), look) in enumerate(zip(_POPULATIONS, ("one", "two", "three"), strict=True))
        ],
    }


def _percent(rate: float | None) -> float | None:
    return None if rate is None else round(100 * rate, 1)


def _count_held(shard: int) -> int:
    """Events that wait now: the newest verdicts only, since nothing waits for long."""
    stream_ms = Learner.objects.values_list("stream_ms", flat=True).get(shard=shard)
    ordinal = _ordinal_after(shard, _step_before(shard, stream_ms - HELD_WITHIN_MS))
    return verdict_counts.count_held(shard=shard, ordinal=ordinal, limit=MAX_VERDICTS)


def _stream_ms() -> int:
    return max(Learner.objects.values_list("stream_ms", flat=True), default=0)


def _step_before(shard: int, at_ms: int) -> int:
    """Return the number of a watched step before a time, 0 if none is known.

    Steps have no index by time, but Watched has one.
    """
    rows = Watched.objects.filter(shard=shard, stream_ms__lt=at_ms).order_by("-stream_ms")
    return rows.values_list("step", flat=True).first() or 0


def _ordinal_after(shard: int, step: int) -> int:
    """Return the number in the fold of the first event after a step."""
    rows = Step.objects.filter(shard=shard, number__gt=step, first_ordinal__isnull=False).order_by("number")
    return rows.values_list("first_ordinal", flat=True).first() or 0
