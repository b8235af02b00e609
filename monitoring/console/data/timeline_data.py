"""The model over time: hit rates, events, decisions, alarms and checkpoints.

    step_figures.list_points    ──> at most N_BUCKETS points ──> hit rates, events per second
    Review by time, Step alarms ──> marks, at most MAX_MARKS, those of one kind and point made one
    Checkpoint                  ──> ticks, and a list by id

Every range is bounded. Figures are thinned with age (`recommender.learning.quality_log`), so a month of one shard is
some 6,000 rows. There may be millions of Steps, but only those of the points are read. Times are stream time in ms,
which is the server's clock.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Max, Q
from django.urls import reverse

from monitoring.models import Finding, Review
from recommender import history
from recommender.core import state_versions
from recommender.core.vocabulary import DAY_MS, SECOND_MS
from recommender.ids import MAX_ROW_ID
from recommender.learning import step_figures
from recommender.learning.step_figures import QualityPoint
from recommender.models import STATE_COLUMNS, Checkpoint, Learner, Step, Watched

N_BUCKETS = 480
MAX_MARKS = 60
MAX_TICKS = 120
MIN_RANGE_MS, MAX_RANGE_MS = 10 * SECOND_MS, 400 * DAY_MS
RATES = (
    ("hit_rate", "all readers", "one"),
    ("trusted_hit_rate", "trusted readers", "good"),
    ("canary_hit_rate", "secret panel", "two"),
)
MARKED = (Review.Action.FREEZE, Review.Action.THAW, Review.Action.REVERT, Review.Action.ALARM)


@dataclass(frozen=True, slots=True)
class Range:
    """A time range from `from_ms` on and before `to_ms`."""

    from_ms: int
    to_ms: int

    @classmethod
    def between(cls, from_ms: int, to_ms: int) -> "Range":
        """Return the range between two ends, in either order.

        It is at least MIN_RANGE_MS and at most MAX_RANGE_MS wide.
        """
        first, end = sorted((max(0, from_ms), max(0, to_ms)))
        if end - first < MIN_RANGE_MS:
            first = max(0, (first + end - MIN_RANGE_MS) // 2)
            end = first + MIN_RANGE_MS
        return cls(max(first, end - MAX_RANGE_MS), end)

    @property
    def width_ms(self) -> int:
        """Return the width of a bucket."""
        return max(1000, math.ceil((self.to_ms - self.from_ms) / N_BUCKETS))

    def scaled(self, by: float) -> "Range":
        """Return the range made wider by a factor, with the same middle."""
        middle, half = (self.from_ms + self.to_ms) / 2, (self.to_ms - self.from_ms) * by / 2
        return self.between(int(middle - half), int(middle + half))

    def moved(self, by: float) -> "Range":
        """Return the range moved later by a share of its length."""
        ms = int((self.to_ms - self.from_ms) * by)
        return self.between(self.from_ms + ms, self.to_ms + ms)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A chart (see the template tag `chart`) and its number of steps.

    `is_cut`: there are more marks.
    """

    chart: dict[str, Any]
    n_points: int
    n_steps: int
    is_cut: bool


def newest_ms() -> int | None:
    """Return the stream time of the newest figures, None if there are none."""
    newest: int | None = Watched.objects.filter(shard__in=_shards()).aggregate(at=Max("stream_ms"))["at"]
    return newest


def get_timeline(*, range_: Range, is_cropped: bool = False) -> Timeline:
    """Return the chart of a range, in six indexed reads.

    With `is_cropped` it begins at the first figures in the range.
    """
    points = step_figures.list_points(
        shards=_shards(), from_ms=range_.from_ms, to_ms=range_.to_ms, width_ms=range_.width_ms
    )
    marks, is_cut = _marks(range_)
    at = [point.at_ms for point in points]
    chart = {
        "kind": "line",
        "x": at,
        "unit": "hit rate",
        "from": max(range_.from_ms, at[0]) if is_cropped and at else range_.from_ms,
        "to": range_.to_ms,
        "series": [
            *(
                {"label": label, "look": look, "y": [_rounded(getattr(point, rate)) for point in points]}
                for rate, label, look in RATES
            ),
            {"label": "events/s", "look": "dim", "axis": "right", "y": _rates(points)},
        ],
        "marks": marks,
        "ticks": _ticks(range_),
    }
    first, last = (point.first_step for point in points), (point.last_step for point in points)
    n_steps = max(last, default=0) - min(first, default=1) + 1
    return Timeline(chart, len(points), max(0, n_steps), is_cut)


def _rates(points: list[QualityPoint]) -> list[float | None]:
    """Return the events per second between each point and the one before it.

    The log numbers events in order, so this is the difference of their numbers.
    """
    rates: list[float | None] = []
    before: tuple[int, int] | None = None
    for point in points:
        at, seq = point.at_ms, point.to_seq
        if seq is None:
            rates.append(None)
            continue
        is_later = before is not None and at > before[0]
        rates.append(round(1000 * max(0, seq - before[1]) / (at - before[0]), 1) if is_later and before else None)
        before = (at, seq)
    return rates


# -- decisions and alarms --------------------------------------------------------------------------------------------


def _marks(range_: Range) -> tuple[list[dict[str, Any]], bool]:
    """Return the decisions and alarms of a range, oldest first.

    Marks of one kind within four buckets are joined. The second value is True if there were more than are shown.
    """
    found = [*_decided(range_), *_alarms(range_)]
    found.sort(key=lambda mark: mark["at"])
    joined: list[dict[str, Any]] = []
    last: dict[str, dict[str, Any]] = {}
    for mark in found:
        same = last.get(mark["what"])
        if same is not None and mark["at"] - same["at"] < 4 * range_.width_ms:
            same["n"] += 1
            same["label"] = f"{same['what']}, {same['n']} times"
            continue
        last[mark["what"]] = mark | {"n": 1, "label": mark["label"]}
        joined.append(last[mark["what"]])
    return joined[-MAX_MARKS:], len(joined) > MAX_MARKS


def _decided(range_: Range) -> list[dict[str, Any]]:
    """Return freezes, thaws, reverts (not previews) and the policy's alarms."""
    between = Review.objects.filter(at__gte=_moment(range_.from_ms), at__lt=_moment(range_.to_ms))
    rows = between.filter(action__in=MARKED).exclude(subject__contains={"preview": True}).order_by("-at", "-id")
    return [mark for row in rows[: 4 * MAX_MARKS] if (mark := _mark_of(row))]


def _mark_of(row: Review) -> dict[str, Any] | None:
    at = int(row.at.timestamp() * 1000)
    where = f" {row.scope}" if row.scope else ""
    if row.action == Review.Action.FREEZE:
        return {"at": at, "what": "freeze", "label": f"freeze{where}", "look": "bad", "href": ""}
    if row.action == Review.Action.THAW:
        return {"at": at, "what": "thaw", "label": f"thaw{where}", "look": "good", "href": ""}
    if row.action == Review.Action.ALARM:
        signal = str(row.subject.get("signal", ""))
        return {
            "at": at,
            "what": f"alarm {signal}".strip(),
            "label": f"alarm {signal}".strip(),
            "look": "warn",
            "href": "",
        }
    state, number = row.subject.get("state", ""), row.subject.get("revert")
    if state == "done":  # its mark is at the time of the request
        return None
    label = "revert failed" if state == "failed" else f"revert to {row.subject.get('checkpoint', '?')}"
    href = reverse("console:revert", args=[number]) if isinstance(number, int) else ""
    return {"at": at, "what": "revert" if state != "failed" else label, "label": label, "look": "two", "href": href}


def _alarms(range_: Range) -> list[dict[str, Any]]:
    """Return the steps with an alarm, by their index.

    A stop's mark leads to its finding.
    """
    rows = Step.objects.filter(
        shard__in=_shards(), stream_ms__gte=range_.from_ms, stream_ms__lt=range_.to_ms, alarm__gt=0
    ).order_by("-stream_ms")
    alarms = list(rows.values_list("stream_ms", "alarm")[: 4 * MAX_MARKS])
    stops = [at for at, alarm in alarms if alarm == Step.Alarm.STOP]
    drifts = Finding.objects.filter(last_ms__in=stops, kind=Finding.Kind.DRIFT) if stops else Finding.objects.none()
    finding_at = dict(drifts.values_list("last_ms", "pk"))
    marks = []
    for at, alarm in alarms:
        is_stop = alarm == Step.Alarm.STOP
        label = "quality fell" if is_stop else "quality may fall"
        href = reverse("console:finding", args=[finding_at[at]]) if at in finding_at else ""
        marks.append({"at": at, "what": label, "label": label, "look": "bad" if is_stop else "warn", "href": href})
    return marks


# -- checkpoints -----------------------------------------------------------------------------------------------------


def _ticks(range_: Range) -> list[dict[str, Any]]:
    """Return the checkpoints of a range, thinned evenly to about MAX_TICKS."""
    rows = Checkpoint.objects.filter(stream_ms__gte=range_.from_ms, stream_ms__lt=range_.to_ms).order_by("-id")
    found = list(rows.values_list("pk", "stream_ms", "is_pinned")[: 20 * MAX_TICKS])
    every = math.ceil(len(found) / MAX_TICKS) or 1
    shown = [each for place, each in enumerate(found) if place % every == 0 or each[2]]
    address = reverse("console:ask-revert")
    return [
        {
            "at": at,
            "label": f"checkpoint {number}{', pinned' if is_pinned else ''}: go back to here",
            "look": "warn" if is_pinned else "one",
            "href": f"{address}?checkpoint={number}",
        }
        for number, at, is_pinned in shown[:MAX_TICKS]
    ]


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """A checkpoint that one can go back to.

    is_on_way: it is part of the model's history. Otherwise a revert left it behind.
    n_since: about how many events have come since.
    is_older_version: an earlier version of the fold wrote it, before an upgrade.
    """

    id: int
    shard: int
    digest: str
    step: int
    stream_ms: int
    n_events: int
    hr20: float | None
    is_pinned: bool
    is_active: bool
    is_on_way: bool
    n_since: int
    is_older_version: bool


def list_points(
    *, limit: int = 25, before: int | None = None, range_: Range | None = None
) -> tuple[list[TimelinePoint], bool]:
    """List checkpoints, newest first, from the one before `before` on.

    The second value is True if there are more.
    """
    rows = _without_bytes()
    if before is not None:
        rows = rows.filter(id__lt=before)
    if range_ is not None:
        rows = rows.filter(stream_ms__gte=range_.from_ms, stream_ms__lt=range_.to_ms)
    points = _points(rows.order_by("-id")[: limit + 1])
    return points[:limit], len(points) > limit


def list_pinned(*, limit: int = 50) -> list[TimelinePoint]:
    """List the newest pinned checkpoints."""
    return _points(_without_bytes().filter(is_pinned=True).order_by("-id")[:limit])


def list_choices(*, chosen: int | None = None) -> list[TimelinePoint]:
    """List the checkpoints that a form offers: the newest, the pinned, and the chosen."""
    rows = _without_bytes()
    newest = list(rows.order_by("-id").values_list("pk", flat=True)[:100])
    pinned = list(rows.filter(is_pinned=True).order_by("-id").values_list("pk", flat=True)[:50])
    also = [chosen] if chosen is not None and chosen <= MAX_ROW_ID else []
    return _points(rows.filter(Q(pk__in=[*newest, *pinned, *also])).order_by("-id"))


def _without_bytes() -> Any:
    return Checkpoint.objects.defer(*STATE_COLUMNS)


def _points(rows: Any) -> list[TimelinePoint]:
    learners = {row.shard: row for row in Learner.objects.order_by("shard")}
    points = []
    for row in rows:
        learner = learners.get(row.shard)
        points.append(
            TimelinePoint(
                id=row.pk,
                shard=row.shard,
                digest=row.digest,
                step=row.step,
                stream_ms=row.stream_ms,
                n_events=row.n_events,
                hr20=row.hr20 if row.n_predicted else None,
                is_pinned=row.is_pinned,
                is_active=learner is not None and learner.checkpoint_id == row.pk,
                is_on_way=learner is not None and history.begins_with(learner.recipe, row.recipe, row.step),
                n_since=max(0, learner.seq - row.seq) if learner else 0,
                is_older_version=row.fold_version < state_versions.FOLD_VERSION,
            )
        )
    return points


def _shards() -> list[int]:
    return list(Learner.objects.order_by("shard").values_list("shard", flat=True))


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
