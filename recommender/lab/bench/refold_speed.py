"""Speed of every fold of the log, next to the bare Pipeline.step.

    refold_log.fill ──> Steps of one size ──┬──> batches encoded beforehand ──> Pipeline.step alone: the ceiling
                                            └──> restore, verify, rebuild, revert: each reads the log again

The ceiling is measured in the same run and process, with the same cuts and decisions. A fold may take FOLD_BUDGET
times as long. Verify includes its digest, rebuild its checkpoint, and the revert all that it writes. Restore and
verify begin at an early checkpoint, and so does the revert. The time to load it counts.

The revert is handed in, because this room may not import the one that carries it out.
"""

import cProfile
import gc
import io
import pstats
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TypeVar

import numpy as np

from recommender import models
from recommender.core.decisions import DecidedEvents, ExclusionRule
from recommender.core.events import EventBatch
from recommender.core.pipeline import Pipeline
from recommender.lab.bench import refold_log
from recommender.lab.bench.refold_log import FilledLog
from recommender.lab.bench.results import BenchRow
from recommender.lab.bench.running_system import CannotMeasure
from recommender.learning import fresh_fold, pipeline_settings, warm_pipeline
from recommender.learning.refold import as_decided, encode
from recommender.log import event_log
from recommender.models import Decision, Learner, Revert, Step

STEP_EVENTS = (20, 200, 1000, 4096)
N_EVENTS = 100_000  # in one log, if its steps are not more than N_STEPS
N_STEPS = 1500
N_EXCLUDED = 20  # events whose actors are excluded
N_TIMES = 2  # each fold is timed so often, and the least time counts
FOLD_BUDGET = 1.25  # times the bare step's time
BARE, BARE_ALL = "bare", "bare from nothing"
N_LINES = 25  # of a profile

Result = TypeVar("Result")
Prepared = tuple[EventBatch, Sequence[DecidedEvents]]
RunRevert = Callable[[], bool]
"""A function that carries out the revert that waits, and returns whether there was one."""


class FoldTimes:
    """The least seconds of each fold and of the bare steps, wall time and CPU time."""

    def __init__(self) -> None:
        self.least: dict[str, tuple[float, float]] = {}

    def put(self, name: str, wall_s: float, cpu_s: float) -> None:
        self.least[name] = min(self.least.get(name, (inf, inf)), (wall_s, cpu_s))

    def time(self, name: str, fold: Callable[[], Result]) -> Result:
        """Time a fold and return its result."""
        gc.collect()
        began_at, cpu_before = time.perf_counter(), time.thread_time()
        result = fold()
        self.put(name, time.perf_counter() - began_at, time.thread_time() - cpu_before)
        return result


def measure(
    *,
    run_revert: RunRevert,
    n_events: int = N_EVENTS,
    seed: int = 1,
    sizes: Sequence[int] = STEP_EVENTS,
    profiles: list[str] | None = None,
) -> Iterator[BenchRow]:
    """Yield a row for each fold, size of step and log.

    Django's connection must lead to a database of the bench's own, because it is emptied. About ten times the time of
    the bare steps.

    profiles: gets the profile of each revert as text, if given. A profiled revert takes longer, and is not budgeted.
    """
    for size in sizes:
        for is_attacked in (False, True):
            filled = refold_log.fill(
                n_events=min(n_events, N_STEPS * size), step_events=size, is_attacked=is_attacked, seed=seed
            )
            yield from _rows(filled, size, is_attacked, run_revert, profiles)


def _rows(
    filled: FilledLog, size: int, is_attacked: bool, run_revert: RunRevert, profiles: list[str] | None
) -> Iterator[BenchRow]:
    times = FoldTimes()
    for _ in range(N_TIMES):
        _time_bare(filled, times)
        _check_digest(times.time("restore", lambda: _restore(filled)), filled)
        _check_digest(times.time("verify", lambda: fresh_fold.verify(filled.end, filled.base)), filled)
        _check_digest(times.time("rebuild", lambda: fresh_fold.rebuild(Learner.objects.get())).digest, filled)
    for _ in range(N_TIMES):
        _revert(filled, times, run_revert)
    log = f"steps of {size}, {'attacked' if is_attacked else 'quiet'}"
    if profiles is not None:
        profile = cProfile.Profile()
        with profile:
            _revert(filled, FoldTimes(), run_revert)
        profiles.append(f"revert: {log}\n{_top(profile)}")
    for name, bare, n in (
        *((name, BARE, filled.n_events - filled.base.n_events) for name in ("restore", "verify", "revert")),
        ("rebuild", BARE_ALL, filled.n_events),
    ):
        wall_s, cpu_s = times.least[name]
        bare_s, bare_cpu_s = times.least[bare]
        yield BenchRow(
            measure=f"{name}: {log}",
            value=wall_s / bare_s,
            unit="x",
            budget=FOLD_BUDGET,
            is_most=True,
            note=f"{n / wall_s:,.0f} events/s, Pipeline.step alone {n / bare_s:,.0f}; its thread's CPU time"
            f" {cpu_s / bare_cpu_s:.2f} x; {n:,} events, {filled.n_verdicts:,} verdicts,"
            f" {filled.n_decisions} decisions",
        )


def _time_bare(filled: FilledLog, times: FoldTimes) -> None:
    """Time Pipeline.step over the recorded steps.

    All that it takes is made beforehand.
    """
    pipeline = Pipeline(pipeline_settings.configured())
    pipeline.ranker.prepare()
    prepared = list(_prepared(pipeline))
    n_before = filled.base.step
    before, after = prepared[:n_before], prepared[n_before:]

    def steps(of: Sequence[Prepared]) -> None:
        for batch, decided in of:
            pipeline.step(batch, decided)

    bare = FoldTimes()
    bare.time("before", lambda: steps(before))
    bare.time("after", lambda: steps(after))
    _check_digest(pipeline.digest(), filled)
    times.put(BARE, *bare.least["after"])
    times.put(BARE_ALL, *np.sum(list(bare.least.values()), axis=0))


def _revert(filled: FilledLog, times: FoldTimes, run_revert: RunRevert) -> None:
    revert = _ask_for_revert(filled)
    times.time("revert", run_revert)
    revert.refresh_from_db()
    if revert.state != Revert.State.DONE:
        raise CannotMeasure(f"{revert}: {revert.error}")


def _prepared(pipeline: Pipeline) -> Iterator[Prepared]:
    for step in Step.objects.order_by("number"):
        rows = list(Decision.objects.filter(taken_in=step.number).order_by("id"))
        yield encode(pipeline, event_log.read_step(step)), as_decided(pipeline, rows)


def _restore(filled: FilledLog) -> str:
    row = Learner.objects.get()
    row.checkpoint = filled.base
    return warm_pipeline.restore(row).pipeline.digest()


def _check_digest(found: str, filled: FilledLog) -> None:
    if found != filled.end.digest:
        raise CannotMeasure(f"a fold ended in {found}, but the learner had {filled.end.digest}")


def _ask_for_revert(filled: FilledLog) -> Revert:
    first = models.EventVerdict.objects.order_by("id").values_list("xid", "seq")[:N_EXCLUDED]
    events = event_log.read_at([event_log.Position(*each) for each in first], since_ms=0)
    keys = np.unique(encode(Pipeline(pipeline_settings.configured()), events).actor)
    return Revert.objects.create(
        mode=Revert.Mode.EXCLUDE,
        checkpoints=[filled.base.pk],
        exclusion=models.Exclusion.objects.create(rule=ExclusionRule(actors=keys).state()),
    )


def _top(profile: cProfile.Profile) -> str:
    out = io.StringIO()
    pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(N_LINES)
    return out.getvalue()
