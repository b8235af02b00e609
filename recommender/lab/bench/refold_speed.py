"""Speed of every fold of the recorded log, next to the bare Pipeline.step over the same batches.

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
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from recommender import models
from recommender.core.decisions import DecidedEvents, ExclusionRule
from recommender.core.events import EventBatch
from recommender.core.pipeline import Pipeline
from recommender.lab.bench import refold_log
from recommender.lab.bench.refold_log import FilledLog
from recommender.lab.bench.results import BenchRow
from recommender.lab.bench.running_system import CannotMeasure
from recommender.learning import learner
from recommender.learning.refold import as_decided, encode
from recommender.log import event_log
from recommender.models import Decision, Learner, Revert, Step

STEP_EVENTS = (20, 200, 1000, 4096)
N_EVENTS = 100_000  # in one log, if its steps are not more than N_STEPS
N_STEPS = 1500
N_EXCLUDED = 20  # actors
FOLD_BUDGET = 1.25  # times the bare step's time
N_LINES = 25  # of a profile

Result = TypeVar("Result")
RunRevert = Callable[[], bool]
"""A function that carries out the revert that waits, and returns whether there was one."""


@dataclass(slots=True)
class FoldTimes:
    """Seconds of each fold of one log, and of the bare steps from nothing and from the base."""

    bare_all_s: float = 0.0
    bare_s: float = 0.0
    folds_s: dict[str, float] = field(default_factory=dict)


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
    _time_bare(filled, times)
    _check_digest(_timed(times, "restore", lambda: _restore(filled)), filled)
    _check_digest(_timed(times, "verify", lambda: learner.verify(filled.end, filled.base)), filled)
    rebuilt = _timed(times, "rebuild", lambda: learner.rebuild(Learner.objects.get()))
    _check_digest(rebuilt.digest, filled)
    profile = cProfile.Profile() if profiles is not None else None
    revert = _ask_for_revert(filled)
    with profile or nullcontext():
        _timed(times, "revert", run_revert)
    revert.refresh_from_db()
    if revert.state != Revert.State.DONE:
        raise CannotMeasure(f"{revert}: {revert.error}")
    if profile and profiles is not None:
        profiles.append(f"revert, steps of {size}, {'attacked' if is_attacked else 'quiet'}\n{_top(profile)}")
    n_after = filled.n_events - filled.base.n_events
    for name, took_s in times.folds_s.items():
        n = filled.n_events if name == "rebuild" else n_after
        bare_s = times.bare_all_s if name == "rebuild" else times.bare_s
        yield BenchRow(
            measure=f"{name}: steps of {size}, {'attacked' if is_attacked else 'quiet'}",
            value=took_s / bare_s,
            unit="x",
            budget=FOLD_BUDGET,
            is_most=True,
            note=f"{n / took_s:,.0f} events/s, Pipeline.step alone {n / bare_s:,.0f}, {n:,} events, "
            f"{filled.n_verdicts:,} verdicts, {filled.n_decisions} decisions",
        )


def _timed(times: FoldTimes, name: str, fold: Callable[[], Result]) -> Result:
    gc.collect()
    began_at = time.perf_counter()
    result = fold()
    times.folds_s[name] = time.perf_counter() - began_at
    return result


def _time_bare(filled: FilledLog, times: FoldTimes) -> None:
    """Time Pipeline.step over the recorded steps, with all that it takes made beforehand."""
    pipeline = Pipeline(learner.configured())
    pipeline.ranker.prepare()
    prepared = list(_prepared(pipeline))
    gc.collect()
    for step, batch, decided in prepared:
        began_at = time.perf_counter()
        pipeline.step(batch, decided)
        took_s = time.perf_counter() - began_at
        times.bare_all_s += took_s
        times.bare_s += took_s * (step > filled.base.step)
    _check_digest(pipeline.digest(), filled)


def _prepared(pipeline: Pipeline) -> Iterator[tuple[int, EventBatch, Sequence[DecidedEvents]]]:
    for step in Step.objects.order_by("number"):
        rows = list(Decision.objects.filter(taken_in=step.number).order_by("id"))
        yield step.number, encode(pipeline, event_log.read_step(step)), as_decided(pipeline, rows)


def _restore(filled: FilledLog) -> str:
    row = Learner.objects.get()
    row.checkpoint = filled.base
    return learner.restore(row).pipeline.digest()


def _check_digest(found: str, filled: FilledLog) -> None:
    if found != filled.end.digest:
        raise CannotMeasure(f"a fold ended in {found}, but the learner had {filled.end.digest}")


def _ask_for_revert(filled: FilledLog) -> Revert:
    actors = models.EventVerdict.objects.order_by("id").values_list("xid", "seq")[:N_EXCLUDED]
    events = event_log.read_at([event_log.Position(*each) for each in actors], since_ms=0)
    keys = Pipeline(learner.configured()).encoder.keys(sorted(set(events.actors)))
    return Revert.objects.create(
        mode=Revert.Mode.EXCLUDE,
        checkpoints=[filled.base.pk],
        exclusion=models.Exclusion.objects.create(rule=ExclusionRule(actors=keys).state()),
    )


def _top(profile: cProfile.Profile) -> str:
    out = io.StringIO()
    pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(N_LINES)
    return out.getvalue()
