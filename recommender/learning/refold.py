"""Fold the recorded log again, to exactly the same state.

    history.segments ──> Steps recorded ──> event_log.read ──encode──> without what is excluded ──┐
                         Decisions taken in them ───────────────────────────────────────────> a group of steps
    read_ahead: a thread reads the next group ─────> this thread: Pipeline.step for each step ──> on_step

A refold takes the same ranges of the log, the same decisions and the same exclusions as the fold before it. It reads
many steps at once and makes no round trip for a single one. So it takes little longer than the steps alone
(`manage.py bench refold`).
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from recommender import history, ids, models
from recommender.core import decisions
from recommender.core.events import EventBatch
from recommender.core.fold.step_result import StepResult
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Ruling
from recommender.history import Recipe, Segment
from recommender.learning.read_ahead import read_ahead
from recommender.log import event_log
from recommender.log.event_log import LogSlice, Position
from recommender.models import Step

FIRST_GROUP_EVENTS = 4096  # events read at first
GROUP_EVENTS = 65_536  # events read at once, at most
_NOTHING = np.zeros(0, np.int64)


class LogIncomplete(Exception):
    """The log, or the record of steps, does not reach back to the start of a fold."""


class KeysDiffer(ValueError):
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
    erased_key = None if erased is None else np.uint64(pipeline.encoder.key(erased))
    for segment in history.segments(recipe, after_step, to_step):
        reader = _GroupReader(partial(encode, pipeline), get_exclusion(segment.exclusion), erased_key)
        with read_ahead(partial(reader.read, shard, segment, pipeline.stream_ms)) as groups:
            for group in groups:
                _fold_group(pipeline, group, on_step)


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
            "the state was learned under another ID_SECRET than the present one."
            " Set the former secret again, or learn the whole log again with `manage.py model rebuild`"
        )
    return events.batch


def as_decided(pipeline: Pipeline, rows: Sequence[models.Decision]) -> list[decisions.DecidedEvents]:
    """Return decisions with their events."""
    reader = _GroupReader(partial(encode, pipeline), None, None)
    return [events for row in rows if (events := reader.events_of(row))]


@dataclass(frozen=True, slots=True)
class _Group:
    """Recorded steps, read and encoded.

    batch: the events that the fold takes. xid, seq: their positions in the log.
    ends: the number of its events up to and including each step.
    excluded: by step, the places of its excluded events, where there are any.
    decided: by step, its decisions with their events.
    """

    steps: list[Step]
    batch: EventBatch
    xid: NDArray[np.int64]
    seq: NDArray[np.int64]
    ends: list[int]
    excluded: dict[int, NDArray[np.int64]]
    decided: dict[int, list[tuple[models.Decision, decisions.DecidedEvents | None]]]


def _fold_group(pipeline: Pipeline, group: _Group, on_step: OnStep | None) -> None:
    start = 0
    for step, end in zip(group.steps, group.ends, strict=True):
        here, decided = slice(start, end), group.decided.get(step.number, ())
        first_ordinal = pipeline.n_events
        result = pipeline.step(group.batch[here], [events for _, events in decided if events])
        if on_step:
            excluded = group.excluded.get(step.number, _NOTHING)
            n_there = end - start + len(excluded)
            rows = [row for row, _ in decided]
            at = group.xid[here], group.seq[here]
            on_step(Folded(step, first_ordinal, result, *at, excluded, rows, n_there))
        start = end


@dataclass(frozen=True, slots=True)
class _GroupReader:
    """Reads the groups of a segment.

    Of the Pipeline it uses only the encoder, so it may run ahead of the fold.
    """

    encode: Callable[[LogSlice], EventBatch]
    exclusion: decisions.ExclusionRule | None
    erased: np.uint64 | None

    def read(self, shard: int, segment: Segment, since_ms: int) -> Generator[_Group, None, None]:
        for steps in _groups(shard, segment):
            yield self._group(steps, since_ms)
            since_ms = max(since_ms, steps[-1].stream_ms)

    def _group(self, steps: list[Step], since_ms: int) -> _Group:
        events = _read(steps, since_ms)
        batch, xid, seq = self.encode(events), events.xid, events.seq
        ends = np.cumsum([step.n_events for step in steps])
        excluded = {}
        is_kept, is_there = self._kept(batch), self._there(batch)
        if not (is_kept.all() and is_there.all()):
            excluded = _excluded(steps, ends, is_kept, is_there)
            is_taken = is_kept & is_there
            rows = np.flatnonzero(is_taken)
            batch, xid, seq = batch.take(rows), xid[rows], seq[rows]
            ends = np.concatenate([[0], np.cumsum(is_taken)])[ends]
        return _Group(steps, batch, xid, seq, ends.tolist(), excluded, self._decided(steps))

    def _decided(self, steps: list[Step]) -> dict[int, list[tuple[models.Decision, decisions.DecidedEvents | None]]]:
        found = defaultdict(list)
        taken_in = models.Decision.objects.filter(
            shard=steps[0].shard, taken_in__gte=steps[0].number, taken_in__lte=steps[-1].number
        )
        for row in taken_in.order_by("id"):
            found[row.taken_in or 0].append((row, self.events_of(row)))
        return dict(found)

    def events_of(self, row: models.Decision) -> decisions.DecidedEvents | None:
        positions = [Position(xid, seq) for xid, seq in zip(row.xid, row.seq, strict=True)]
        batch = self.encode(event_log.read_at(positions, since_ms=row.since_ms))
        is_taken = self._kept(batch) & self._there(batch)
        batch = batch if is_taken.all() else batch.take(np.flatnonzero(is_taken))
        return decisions.DecidedEvents(Ruling(row.ruling), batch) if len(batch) else None

    def _kept(self, batch: EventBatch) -> NDArray[np.bool_]:
        return self.exclusion.kept(batch) if self.exclusion else np.ones(len(batch), np.bool_)

    def _there(self, batch: EventBatch) -> NDArray[np.bool_]:
        return np.ones(len(batch), np.bool_) if self.erased is None else np.not_equal(batch.actor, self.erased)


def _excluded(
    steps: list[Step], ends: NDArray[np.int64], is_kept: NDArray[np.bool_], is_there: NDArray[np.bool_]
) -> dict[int, NDArray[np.int64]]:
    """Return the places of excluded events among the events that are there, by step."""
    n_excluded = np.diff(np.concatenate([[0], np.cumsum(~is_kept & is_there)])[ends], prepend=0)
    found = {}
    for row in np.flatnonzero(n_excluded).tolist():
        here = slice(int(ends[row]) - steps[row].n_events, int(ends[row]))
        found[steps[row].number] = np.flatnonzero(~is_kept[here][is_there[here]])
    return found


def _read(steps: list[Step], since_ms: int) -> LogSlice:
    n_events = sum(step.n_events for step in steps)
    events = event_log.read(
        after=Position(steps[0].from_xid, steps[0].from_seq),
        until=Position(steps[-1].to_xid, steps[-1].to_seq),
        since_ms=since_ms,
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

    The first groups are smaller, so that the fold need not wait long for the first. A single larger step is a group
    of its own.
    """
    recorded = Step.objects.filter(shard=shard, number__gte=segment.first, number__lte=segment.last)
    if recorded.count() != segment.last - segment.first + 1:
        raise LogIncomplete(
            f"not all of the steps {segment.first} to {segment.last} are still recorded:"
            " start from a later checkpoint"
        )
    group: list[Step] = []
    n_events, limit = 0, FIRST_GROUP_EVENTS
    for step in recorded.order_by("number").iterator(chunk_size=1000):
        if group and n_events + step.n_events > limit:
            yield group
            group, n_events, limit = [], 0, min(2 * limit, GROUP_EVENTS)
        group.append(step)
        n_events += step.n_events
    if group:
        yield group
