"""Lead several Pipelines over a log in one pass, and note their results.

    Journal.steps ──> each Entrant: hour and split noted ──> Pipeline.step ──> first places noted where asked
                                     └── at an Assault's start: a copy of the Pipeline that is attacked, for its while

The results are the lists they showed, how often these were right, and how much the attacks got from them. Every
entrant gets the same steps, so two of them differ only by their Config. A state is a fold. So a copy that goes on
with the attack's acts among the others is exactly the run that was attacked. The log is read only once. The attacked
copies are asked about honest readers only.

Memory: a Pipeline per entrant, and another while it is attacked, each bounded by its Config. Notes take 90 bytes for
each second of the windows.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.batch.fixed_attacks import Assault
from recommender.core.events import EventBatch
from recommender.core.parquet_log import LogFileStep
from recommender.core.pipeline import Config, Pipeline
from recommender.core.quality.evaluation import LISTS, Quality
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS, SECOND_MS
from recommender.lab.attack import batch_columns

STEP_MS = SECOND_MS
NOTED_DEPTH, SERVED = 20, 10  # first places that are noted, and those that a reader sees
DRAW = 1 / np.log2(np.arange(2, SERVED + 2))  # attention that each place draws


class StepSource(Protocol):
    """A LogFile or a Journal."""

    def steps(self, encoder: Any, *, bucket_ms: int) -> Any: ...


@dataclass(slots=True)
class Notes:
    """The first places over time.

    windows: (from, to) in ms, ascending by their start. Nothing is noted outside of them.
    """

    windows: list[tuple[int, int]]
    at_ms: list[int] = field(default_factory=list)
    tops: list[NDArray[np.int32]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    _next: int = 0

    def wants(self, at_ms: int) -> bool:
        """Return whether a time is in one of the windows.

        Times must ascend from call to call.
        """
        while self._next < len(self.windows) and self.windows[self._next][1] <= at_ms:
            self._next += 1
        return any(start <= at_ms < end for start, end in self.windows[self._next :])

    def add(self, at_ms: int, items: Sequence[str]) -> None:
        row = np.full(NOTED_DEPTH, -1, np.int32)
        row[: len(items)] = [self.numbers.setdefault(item, len(self.numbers)) for item in items]
        self.at_ms.append(at_ms)
        self.tops.append(row)

    def places(self, item: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the times of all notes, and the item's place in each.

        The place is NOTED_DEPTH + 1 where it was in none.
        """
        if not self.at_ms:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        is_here = np.stack(self.tops) == self.numbers.get(item, -2)
        return np.array(self.at_ms), np.where(is_here.any(axis=1), is_here.argmax(axis=1) + 1, NOTED_DEPTH + 1)


@dataclass(slots=True)
class Churn:
    """The share of the served list that changes within a minute.

    It is noise when nothing happens.
    """

    n_minutes: int = 0
    n_changed: int = 0
    _due_ms: int = 0
    _last: frozenset[str] = frozenset()

    def note(self, at_ms: int, pipeline: Pipeline) -> None:
        if at_ms < self._due_ms:
            return
        now = frozenset(pipeline.board(SERVED).items)
        if self._last and at_ms < self._due_ms + MINUTE_MS:  # not after a silence
            self.n_minutes += 1
            self.n_changed += len(now - self._last)
        self._last, self._due_ms = now, (at_ms // MINUTE_MS + 1) * MINUTE_MS

    @property
    def share(self) -> float:
        """Return the share of the served places that changes in a minute."""
        return self.n_changed / (SERVED * self.n_minutes) if self.n_minutes else 0.0


@dataclass(slots=True)
class Siege:
    """One attack on one Pipeline.

    false_ms: time that a target was among the served items, while it was not in the run without the attack.
    exposure: share of all attention to the list that such places took.
    before: answers at its start. clean: answers of the same period without the attack.
    """

    assault: Assault
    pipeline: Pipeline | None
    before: NDArray[np.int64]
    false_ms: int = 0
    attention: float = 0.0
    attacked: NDArray[np.int64] | None = None
    clean: NDArray[np.int64] | None = None
    _sent: int = 0
    _last_ms: int = 0

    @classmethod
    def begin(cls, assault: Assault, pipeline: Pipeline, at_ms: int) -> "Siege":
        return cls(assault, copy.deepcopy(pipeline), answers(pipeline), _last_ms=at_ms)

    def step(self, batch: EventBatch, end_ms: int, clean: Pipeline) -> None:
        """Step the attacked copy with the batch and the attack's events up to `end_ms`.

        `clean` must have taken the batch already.
        """
        assert self.pipeline is not None
        until = int(np.searchsorted(self.assault.events.received_ms, end_ms, "left"))
        sent = self.assault.events[self._sent : until] if until > self._sent else None
        self._sent = max(self._sent, until)
        is_attack = None
        if sent is not None:
            n = len(batch)
            batch, order = batch_columns.merge([batch, sent])
            is_attack = order >= n
        self.pipeline.step(batch, unasked=is_attack)
        now, was = self.pipeline.board(SERVED).items, clean.board(SERVED).items
        false = [now.index(target) for target in self.assault.targets if target in now and target not in was]
        lasted_ms = end_ms - self._last_ms
        if false:
            self.false_ms += lasted_ms
            self.attention += lasted_ms * float(DRAW[false].sum())
        self._last_ms = end_ms

    def end(self, clean: Pipeline) -> None:
        """Keep the answers and drop the Pipeline."""
        assert self.pipeline is not None
        self.attacked, self.clean = answers(self.pipeline) - self.before, answers(clean) - self.before
        self.pipeline = None

    @property
    def exposure(self) -> float:
        return self.attention / float(DRAW.sum()) / (self.assault.to_ms - self.assault.from_ms)


@dataclass(slots=True)
class Entrant:
    """A Config in the pass, and the notes about it.

    hours: answers before each hour (ms) that began.
    split: answers when the test began.
    step_s: core seconds in Pipeline.step, without those of attacked copies.
    """

    name: str
    config: Config
    windows: Sequence[tuple[int, int]] = ()
    assaults: Sequence[Assault] = ()
    split_ms: int = 0
    pipeline: Pipeline = field(init=False)
    notes: Notes = field(init=False)
    churn: Churn = field(default_factory=Churn)
    sieges: list[Siege] = field(default_factory=list)
    hours: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)
    split: NDArray[np.int64] | None = None
    n_split: int = 0
    step_s: float = 0.0
    _waiting: list[Assault] = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(self.config)
        self.notes = Notes(sorted(self.windows))
        self._waiting = sorted(self.assaults, key=lambda each: each.from_ms)

    def step(self, batch: EventBatch) -> None:
        """Take a step, which is one second of the log's time."""
        start_ms = int(batch.received_ms[0]) // STEP_MS * STEP_MS
        end_ms = start_ms + STEP_MS
        self._turn(start_ms)
        began_at = time.process_time()
        self.pipeline.step(batch)
        self.step_s += time.process_time() - began_at
        for siege in self.sieges:
            if siege.pipeline is not None:
                siege.step(batch, end_ms, self.pipeline)
        if self.notes.wants(start_ms):
            self.notes.add(end_ms, self.pipeline.board(NOTED_DEPTH).items)
        if self.split is not None:
            self.churn.note(end_ms, self.pipeline)

    def _turn(self, start_ms: int) -> None:
        """Do the work that is due before a step that begins at this time."""
        hour_ms = start_ms // HOUR_MS * HOUR_MS
        if not self.hours or hour_ms > self.hours[-1][0]:
            self.hours.append((hour_ms, answers(self.pipeline)))
        if self.split is None and start_ms >= self.split_ms:
            self.split, self.n_split = answers(self.pipeline), self.pipeline.n_events
        for siege in self.sieges:
            if siege.pipeline is not None and start_ms >= siege.assault.to_ms:
                siege.end(self.pipeline)
        while self._waiting and self._waiting[0].from_ms <= start_ms:
            self.sieges.append(Siege.begin(self._waiting.pop(0), self.pipeline, start_ms))

    def finish(self) -> None:
        """Finish after the last step."""
        if self.split is None:
            self.split, self.n_split = answers(self.pipeline), self.pipeline.n_events
        for siege in self.sieges:
            if siege.pipeline is not None:
                siege.end(self.pipeline)

    def quality(self, name: str) -> Quality:
        """Return the quality of a list over the test."""
        assert self.split is not None
        return Quality((answers(self.pipeline) - self.split)[LISTS.index(name)])

    def under_attack(self, name: str) -> tuple[Quality, Quality]:
        """Return a list's quality for honest readers with the attacks, and without them.

        Both are over the same periods, those of all attacks.
        """
        at, nothing = LISTS.index(name), np.zeros_like(answers(self.pipeline)[0])
        attacked = [each.attacked[at] for each in self.sieges if each.attacked is not None]
        clean = [each.clean[at] for each in self.sieges if each.clean is not None]
        return Quality(sum(attacked, nothing)), Quality(sum(clean, nothing))

    @property
    def exposure(self) -> float:
        """Return the mean exposure over the attacks, in [0, 1]."""
        return float(np.mean([siege.exposure for siege in self.sieges])) if self.sieges else 0.0

    @property
    def false_s(self) -> float:
        """Return the mean over the attacks of the seconds with a target among the served."""
        return float(np.mean([siege.false_ms for siege in self.sieges])) / 1000 if self.sieges else 0.0


def answers(pipeline: Pipeline) -> NDArray[np.int64]:
    """Return the counts of places of all predictions so far, int64 (lists, places)."""
    return np.stack([pipeline.evaluation.total(name).places for name in LISTS])


def served() -> str:
    """Return the list that a reader gets.

    It is the personalised list, if this version has it.
    """
    return "personalised" if "personalised" in LISTS else "trending"


def run(
    log: StepSource,
    entrants: Sequence[Entrant],
    *,
    before: Callable[[EventBatch], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Lead the entrants over a log.

    All Configs must have the same secret, because events are encoded once. Raises LogFileError.

    before: sees each batch before the entrants do. on_progress: gets the number of events of each step.
    """
    encoder = entrants[0].pipeline.encoder
    step: LogFileStep
    for step in log.steps(encoder, bucket_ms=STEP_MS):
        if before:
            before(step.batch)
        for entrant in entrants:
            entrant.step(step.batch)
        if on_progress:
            on_progress(len(step.batch))
    for entrant in entrants:
        entrant.finish()
