"""Fold the recorded log again, to exactly the same state.

history.segments ──> Steps recorded ──> event_log.read ──encode──> without what is excluded ──┐
                     Decisions taken in them ──────────────────────────────────────────> Pipeline.step ──> on_step

A refold takes the same ranges of the log, the same decisions and the same exclusions as the fold before it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommender import history, ids, models
from recommender.core import decisions
from recommender.core.events import EventBatch
from recommender.core.pipeline import Pipeline
from recommender.core.step_result import StepResult
from recommender.core.vocabulary import Ruling
from recommender.history import Recipe, Segment
from recommender.log import event_log
from recommender.log.event_log import LogSlice, Position
from recommender.models import Step

GROUP_EVENTS = 65_536  # events read at once


class LogIncomplete(Exception):
    """The log, or the record of steps, does not reach back to the start of a fold."""


class KeysDiffer(Exception):
    """The keys of the log are made with another secret than those of a state."""


class Folded(NamedTuple):
    """A recorded step that was folded again.

    first_ordinal: the number in the fold of its first event.
    xid, seq: int64, the positions in the log of the events it learned.
    excluded: the places of excluded events among its `n_events`.
    """

    step: Step
    first_ordinal: int
    result: StepResult
    xid: NDArray[np.int64]
    seq: NDArray[np.int64]
    excluded: NDArray[np.int64]
    decided: Sequence[models.Decision]
    n_events: int


OnStep = Callable[[Folded], None]


def refold(
    pipeline: Pipeline,
    shard: int,
    recipe: Recipe,
    after_step: int,
    to_step: int,
    on_step: OnStep | None = None,
    erased: str | None = None,
) -> None:
    """Fold the steps after_step+1 .. to_step of a history into a Pipeline.

    The Pipeline must be at `after_step`. About 2 us an event. Raises LogIncomplete if a step is no longer recorded,
    or the log no longer has all of its events.

    erased: an actor whose events are left out, as if the log did not have them.
    """
    for segment in history.segments(recipe, after_step, to_step):
        exclusion = get_exclusion(segment.exclusion)
        for steps in _groups(shard, segment):
            _fold_group(pipeline, steps, exclusion, on_step, erased)


def get_exclusion(number: int | None) -> decisions.ExclusionRule | None:
    """Return the exclusion with this number."""
    if number is None:
        return None
    return decisions.ExclusionRule.from_state(models.Exclusion.objects.get(pk=number).rule)


def encode(pipeline: Pipeline, events: LogSlice) -> EventBatch:
    """Return events of the log as the Pipeline's columns.

    Raises KeysDiffer if the log's keys mean nothing to the Pipeline.
    """
    if pipeline.config.secret != ids.secret():
        raise KeysDiffer(
            "the state was learned under another secret of ids than the one that now makes the keys of events:"
            " set the secret of that time again, or learn the whole log again with `manage.py model rebuild`"
        )
    return events.batch


def as_decided(
    pipeline: Pipeline,
    rows: Sequence[models.Decision],
    exclusion: decisions.ExclusionRule | None = None,
    erased: str | None = None,
) -> list[decisions.DecidedEvents]:
    """Return decisions with their events, without excluded or erased events."""
    decided = []
    for row in rows:
        positions = [Position(xid, seq) for xid, seq in zip(row.xid, row.seq, strict=True)]
        events = event_log.read_at(positions, since_ms=row.since_ms)
        batch = encode(pipeline, events)
        if erased is not None:
            batch = batch.take(np.flatnonzero(_is_there(pipeline, batch, erased)))
        decided.append(decisions.DecidedEvents(Ruling(row.ruling), exclusion.apply(batch) if exclusion else batch))
    return [each for each in decided if len(each.events)]


def _fold_group(
    pipeline: Pipeline,
    steps: list[Step],
    exclusion: decisions.ExclusionRule | None,
    on_step: OnStep | None,
    erased: str | None,
) -> None:
    events = _read(pipeline, steps)
    batch = encode(pipeline, events)
    is_kept = exclusion.kept(batch) if exclusion else np.ones(len(batch), np.bool_)
    is_there = _is_there(pipeline, batch, erased)
    made = defaultdict(list)
    taken_in = models.Decision.objects.filter(
        shard=steps[0].shard, taken_in__gte=steps[0].number, taken_in__lte=steps[-1].number
    )
    for each in taken_in.order_by("id"):
        made[each.taken_in].append(each)
    start = 0
    for step in steps:
        here = slice(start, start + step.n_events)
        rows = start + np.flatnonzero(is_kept[here] & is_there[here])
        excluded = np.flatnonzero(~is_kept[here][is_there[here]])
        part = batch[here] if len(rows) == step.n_events else batch.take(rows)
        start += step.n_events
        first_ordinal, decided = pipeline.n_events, made[step.number]
        result = pipeline.step(part, as_decided(pipeline, decided, exclusion, erased) if decided else ())
        if on_step:
            at, n_there = (events.xid[rows], events.seq[rows]), len(rows) + len(excluded)
            on_step(Folded(step, first_ordinal, result, *at, excluded, decided, n_there))


def _is_there(pipeline: Pipeline, batch: EventBatch, erased: str | None) -> NDArray[np.bool_]:
    if erased is None:
        return np.ones(len(batch), np.bool_)
    return np.asarray(batch.actor != np.uint64(pipeline.encoder.key(erased)))


def _read(pipeline: Pipeline, steps: list[Step]) -> LogSlice:
    n_events = sum(step.n_events for step in steps)
    events = event_log.read(
        after=Position(steps[0].from_xid, steps[0].from_seq),
        until=Position(steps[-1].to_xid, steps[-1].to_seq),
        since_ms=pipeline.stream_ms,
        limit=n_events + 1,
        shard=steps[0].shard,
        shards=settings.SHARDS,
    )
    if len(events) != n_events:
        raise LogIncomplete(
            f"steps {steps[0].number} to {steps[-1].number} learned {n_events} events,"
            f" but the log now has {len(events)} of them: start from a later checkpoint"
        )
    return events


def _groups(shard: int, segment: Segment) -> Iterator[list[Step]]:
    """Yield recorded steps in order, in groups of at most GROUP_EVENTS events.

    A single larger step is a group of its own.
    """
    recorded = Step.objects.filter(shard=shard, number__gte=segment.first, number__lte=segment.last)
    if recorded.count() != segment.last - segment.first + 1:
        raise LogIncomplete(
            f"not all of the steps {segment.first} to {segment.last} are still recorded:"
            " start from a later checkpoint"
        )
    group: list[Step] = []
    n_events = 0
    for step in recorded.order_by("number").iterator(chunk_size=1000):
        if group and n_events + step.n_events > GROUP_EVENTS:
            yield group
            group, n_events = [], 0
        group.append(step)
        n_events += step.n_events
    if group:
        yield group
