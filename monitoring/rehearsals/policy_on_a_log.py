"""Rehearse the policy on a recorded log, and count its freezes.

    log ──> Pipeline ──> alarms of steps, figures once a minute ──> decide ──> freezes, alarms by signal
                └── at AT_ROW: the log's next quarter of an hour with attack A17 in it ──> the same, on a copy

Freezes on the log as it is are false. Freezes with the attack are provoked. `monitoring.policy.freeze_decision`
decides. The database and notifications are left out. A freeze is counted and learning goes on, so that later steps
are seen too. The seconds of a freeze count against the budget as in operation.
"""

import copy
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from monitoring.policy.freeze_decision import (
    LATENCY_S,
    Action,
    FreezeRules,
    FreezeState,
    Normal,
    Panel,
    Rate,
    Signals,
    confirmations,
    decide,
)
from recommender.core.events import EventBatch
from recommender.core.fold.step_result import StepResult
from recommender.core.health_figures import watch
from recommender.core.parquet_log import LogFile
from recommender.core.pipeline import Config, Pipeline
from recommender.core.quality.drift import Level
from recommender.core.vocabulary import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from recommender.lab.attack import batch_columns
from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.catalogue.known_site import as_text, see
from recommender.lab.attack.delivery import inject_into_log

STEP_MS = 2 * SECOND_MS
QUIET_MS = 15 * MINUTE_MS  # as ALARM_EVERY_S
AT_ROW = 940_000
PROVOKED_S = 900.0


@dataclass(slots=True)
class Rehearsal:
    """The policy next to a Pipeline. Call `note` after each step."""

    rules: FreezeRules = field(default_factory=FreezeRules)
    normal: Normal = field(default_factory=Normal)
    levels: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    freezes: list[tuple[int, float, str]] = field(default_factory=list)  # stream ms, seconds, reason
    stops: list[tuple[int, list[str]]] = field(default_factory=list)
    _panel: deque[tuple[int, int, int, int, int]] = field(default_factory=deque)
    _told_ms: dict[str, int] = field(default_factory=dict)
    _due_ms: int = 0

    def note(self, pipeline: Pipeline, result: StepResult) -> Action:
        """Decide after a step."""
        now_ms, alarm = pipeline.stream_ms, result.alarm
        if result.quality.n:
            rates = (result.canary.n, result.canary.hits, result.quality.n, result.quality.hits)
            self._panel.append((now_ms, *rates))
        if not alarm.level and now_ms < self._due_ms:
            return Action()
        figures = asdict(watch(pipeline))
        self._due_ms = now_ms + MINUTE_MS
        signals = Signals(alarm.level, alarm.changed_ms, now_ms, figures, self._canaries(alarm.changed_ms, now_ms))
        action = decide(signals, self._state(now_ms), self.rules, self.normal)
        if alarm.level:
            self.levels[alarm.level.name] += 1
        if alarm.level == Level.STOP:
            self.stops.append((now_ms, confirmations(signals, self.normal)))
        self.normal.add(now_ms, figures)
        for each in action.alarms:
            if now_ms - self._told_ms.get(each.signal, -QUIET_MS) >= QUIET_MS:
                self.alarms[each.signal] += 1
                self._told_ms[each.signal] = now_ms
        if action.freeze_s:
            self.freezes.append((now_ms, action.freeze_s + LATENCY_S, action.reason))
        return action

    def _canaries(self, changed_ms: int, now_ms: int) -> Panel:
        since_ms = changed_ms or now_ms
        while self._panel and self._panel[0][0] < now_ms - 2 * HOUR_MS:
            self._panel.popleft()
        if not changed_ms:
            return Panel()
        rows = np.array(self._panel, np.int64).reshape(-1, 5)
        rows = rows[rows[:, 0] >= since_ms - HOUR_MS]
        is_since = rows[:, 0] > since_ms
        rates = []
        for part in (rows[is_since], rows[~is_since]):
            _, n_canary, canary_hits, n, hits = part.sum(axis=0).tolist()
            rates += [Rate(n_canary, canary_hits), Rate(n, hits)]
        return Panel(*rates)

    def _state(self, now_ms: int) -> FreezeState:
        spent_s = sum(seconds for at_ms, seconds, _ in self.freezes if at_ms > now_ms - HOUR_MS)
        return FreezeState(spent_s=spent_s, n_freezes=sum(at_ms > now_ms - DAY_MS for at_ms, _, _ in self.freezes))


def rehearse(path: Path, config: Config, *, limit: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rehearse on the log as it is, then with A17 in it.

    It yields a name and its figures. It takes about 1.5 minutes per million events.
    """
    log = as_text(inject_into_log.read_log(path, limit=limit))
    pipeline, rehearsal, taken = Pipeline(config), Rehearsal(), None
    for step in LogFile(path, limit=limit).steps(pipeline.encoder, bucket_ms=STEP_MS):
        if taken is None and step.rows[0] >= AT_ROW:
            taken = pipeline.to_bytes(), copy.deepcopy(rehearsal)
        rehearsal.note(pipeline, pipeline.step(step.batch))
    yield "as it is", told(rehearsal)
    if taken is None:
        return
    for n_actors in (100, 300, 1000, 3000):
        for seed in (1, 2, 3):
            provoked = copy.deepcopy(taken[1])
            for part in (provoked.levels, provoked.alarms, provoked.stops, provoked.freezes):
                part.clear()
            _provoke(Pipeline.from_bytes(taken[0]), provoked, log, n_actors=n_actors, seed=seed)
            yield f"A17, {n_actors} accounts, seed {seed}", told(provoked)


def told(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return the figures in values that JSON takes."""
    return {
        "levels": dict(rehearsal.levels),
        "stops": rehearsal.stops,
        "freezes": rehearsal.freezes,
        "frozen_s": sum(seconds for _, seconds, _ in rehearsal.freezes),
        "alarms": dict(rehearsal.alarms),
    }


def _provoke(pipeline: Pipeline, rehearsal: Rehearsal, log: pl.DataFrame, *, n_actors: int, seed: int) -> None:
    now_s = pipeline.stream_ms / 1000
    board = pipeline.board(20).items
    world = see(log.filter(pl.col("ts") > now_s - 7 * 3600), now_s, board=board)
    plan = attack("A17")().plan(world, n_actors=n_actors, seed=seed)
    after = log.filter(pl.col("ts").is_between(now_s, now_s + PROVOKED_S, closed="right"))
    batch = batch_columns.encode(pipeline, inject_into_log.inject(after, [("A17", plan)]))
    for part in cut(batch):
        rehearsal.note(pipeline, pipeline.step(part))


def cut(batch: EventBatch) -> Iterable[EventBatch]:
    """Cut a batch into steps of STEP_MS."""
    buckets = batch.received_ms // STEP_MS
    start = 0
    for row in range(1, len(batch) + 1):
        if row == len(batch) or buckets[row] != buckets[start]:
            yield batch[start:row]
            start = row
