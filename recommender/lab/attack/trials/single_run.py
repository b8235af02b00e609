"""One attack against one defence, second by second, with and without the attack.

    TrialSite ──warm, once a defence──> saved states at the start times
                                     ├──follow──────────────> Trace of the clean run
                                     └──follow(campaign)────> Trace of the attacked run

The state is a fold, so a saved state continues as if it had never been saved. A step is one second of stream time. An
attacker reacts to the list as it was at the end of the second before. No label reaches a defence.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.pipeline import Config, Pipeline
from recommender.core.vocabulary import HOUR_MS, SECOND_MS
from recommender.lab.attack import batch_columns
from recommender.lab.attack.catalogue.all_attacks import MACHINES
from recommender.lab.attack.catalogue.known_site import World, as_text, see
from recommender.lab.attack.defences import defence_kinds
from recommender.lab.attack.defences.defences import Defence, Judged, Product
from recommender.lab.attack.delivery.campaign import Campaign
from recommender.lab.attack.trials.event_fates import AUTOMATA, INJECTED, Ledger

STEP_MS = SECOND_MS
WARM_STEP_MS = 5 * SECOND_MS
FOREST_WARM_MS = 2 * HOUR_MS  # The forest remembers less than this, and it is slow.
WATCHED_DEPTH, SERVED = 20, 10  # first places that are watched; first places that a reader is shown


OnStep = Callable[[int, Defence, Judged], None]  # time after the step (ms), the defence, its verdicts
# the defence, the events of the second, their groups
OnSecond = Callable[[Defence, EventBatch, NDArray[np.int8]], None]


@dataclass(frozen=True, slots=True)
class TrialSite:
    """A log that is ready to be attacked.

    group: READERS or AUTOMATA, by row. It comes from the column `attack`, if the log has one.
    """

    name: str
    log: pl.DataFrame
    batch: EventBatch
    group: NDArray[np.int8]
    config: Config

    @classmethod
    def of(cls, name: str, log: pl.DataFrame, config: Config) -> Self:
        log = as_text(log)
        group = np.zeros(len(log), np.int8)
        if "attack" in log.columns:
            group[log["attack"].is_in(list(MACHINES)).fill_null(False).to_numpy()] = AUTOMATA
        return cls(name, log, batch_columns.encode(Pipeline(config), log), group, config)

    @classmethod
    def read(cls, path: Path, config: Config, *, limit: int | None = None) -> Self:
        frame = pl.scan_parquet(path)
        return cls.of(path.stem, (frame.head(limit) if limit else frame).collect(), config)

    def without_machines(self) -> Self:
        """Return the same site without the events of honest machines."""
        if not (self.group == AUTOMATA).any():
            return self
        rows = np.flatnonzero(self.group != AUTOMATA)
        return type(self)(
            self.name, self.log[rows], batch_columns.take(self.batch, rows), self.group[rows], self.config
        )

    def starts(self, n: int, *, seed: int, after: float = 0.5, room_s: float = 2400.0) -> list[int]:
        """Draw n times (ms) at which attacks begin, more often while more is going on.

        An attacker would pick such times. They come after the share `after` of the log, and `room_s` before its end.
        """
        rng = np.random.default_rng([seed, 0x57A27])
        ms = self.batch.received_ms
        end = int(np.searchsorted(ms, ms[-1] - 1000 * room_s))
        first = min(int(after * len(ms)), max(0, end - 1))
        rows = rng.integers(first, max(end, first + 1), n)
        return [int(at) // WARM_STEP_MS * WARM_STEP_MS for at in ms[rows].tolist()]

    def world(self, start_ms: int, board: list[str]) -> World:
        return see(self.log, start_ms / 1000, board=board)


@dataclass(slots=True)
class Trace:
    """Record of a run.

    tops: by second, the first WATCHED_DEPTH items.
    last: by second, the score at the last served place.
    scores: by second, the scores of the watched items.
    n_accounts: by second, the accounts that had acted on a target by then.
    ledger: all events of the run.
    """

    tops: list[list[str]] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    n_accounts: list[int] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    fresh_weight: float = 1.0

    def rank(self, item: str) -> NDArray[np.int64]:
        """Return the place of an item by second.

        It is WATCHED_DEPTH + 1 if the item is not among the first.
        """
        return np.array([top.index(item) + 1 if item in top else WATCHED_DEPTH + 1 for top in self.tops], np.int64)


class WarmStates:
    """Saved states of defences at the start times. Each defence folds the log once.

    The states are in memory, or in a folder in which other processes find them.
    """

    def __init__(self, site: TrialSite, starts_ms: Sequence[int], folder: Path | None = None) -> None:
        self.site, self.starts_ms = site, sorted(set(starts_ms))
        self._folder = folder
        self._saved: dict[tuple[str, int], bytes] = {}
        self._open: dict[tuple[str, int], Defence] = {}  # restored once, then copied for every run from this start

    def fold(
        self,
        name: str,
        *,
        until_ms: int | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Fold the log up to the last start (or `until_ms`), and save at every start."""
        first_ms = int(self.site.batch.received_ms[0]) // WARM_STEP_MS * WARM_STEP_MS
        if name != "forest":
            self._fold(name, first_ms, max(until_ms or 0, self.starts_ms[-1]), on_step)
            return
        for start_ms in self.starts_ms:
            self._fold(name, max(first_ms, start_ms - FOREST_WARM_MS), start_ms, on_step)

    def _fold(self, name: str, first_ms: int, until_ms: int, on_step: OnStep | None) -> None:
        defence, batch = defence_kinds.make(name, self.site.config), self.site.batch
        n_steps = (until_ms - first_ms) // WARM_STEP_MS
        cuts = batch_columns.cut(batch.received_ms, first_ms, WARM_STEP_MS, n_steps)
        due = set(self.starts_ms)
        for number in range(n_steps):
            at_ms = first_ms + number * WARM_STEP_MS
            if at_ms in due and name != "forest":
                self._put(name, at_ms, defence.save())
            if cuts[number] == cuts[number + 1]:
                continue
            judged = defence.step(batch[slice(int(cuts[number]), int(cuts[number + 1]))])
            if on_step:
                on_step(at_ms + WARM_STEP_MS, defence, judged)
        if until_ms in due:
            self._put(name, until_ms, defence.save())

    def state(self, name: str, start_ms: int) -> Defence:
        """Return a defence as it was at a start."""
        key = (name, start_ms)
        if key not in self._saved:
            path = self._path(name, start_ms)
            if path is not None and path.exists():
                self._saved[key] = path.read_bytes()
            else:
                self.fold(name)
        kind = defence_kinds.kind(name)
        if not issubclass(kind, Product):
            return kind.restore(self._saved[key])
        if key not in self._open:
            self._open = {other: state for other, state in self._open.items() if other[1] == start_ms}
            self._open[key] = kind.restore(self._saved[key])
        return copy.deepcopy(self._open[key])  # as exact as a restore from bytes, and fifty times as fast

    def _path(self, name: str, start_ms: int) -> Path | None:
        return self._folder / f"{self.site.name}-{name}-{start_ms}" if self._folder else None

    def _put(self, name: str, start_ms: int, state: bytes) -> None:
        self._saved[name, start_ms] = state
        if (path := self._path(name, start_ms)) is not None:
            path.write_bytes(state)


class _Sight:
    def __init__(self, defence: Defence) -> None:
        self._defence = defence

    def listed(self) -> list[str]:
        return self._defence.top(SERVED)[0]

    def score(self, item: str) -> float:
        return self._defence.score(item)

    def last_score(self) -> float:
        scores = self._defence.top(SERVED)[1]
        return float(scores[-1]) if len(scores) == SERVED else 0.0

    def fresh_weight(self) -> float:
        return self._defence.fresh_weight()


def follow(
    defence: Defence,
    site: TrialSite,
    start_ms: int,
    seconds: int,
    *,
    campaign: Campaign | None = None,
    watch: Sequence[str] = (),
    on_second: OnSecond | None = None,
) -> Trace:
    """Fold `seconds` of the site's log from `start_ms` on.

    If a campaign is given, its events are among them.
    """
    batch, trace = site.batch, Trace(scores={item: [] for item in watch}, fresh_weight=defence.fresh_weight())
    cuts = batch_columns.cut(batch.received_ms, start_ms, STEP_MS, seconds)
    sight = _Sight(defence)
    sent, is_target, accounts = None, np.empty(0, bool), set[int]()
    if campaign is not None:
        encoder = Pipeline(site.config)
        sent = batch_columns.encode(encoder, campaign.plan.rows)
        is_target = campaign.plan.rows["item"].is_in(list(campaign.plan.targets)).to_numpy()
    for second in range(seconds):
        now_ms = start_ms + second * STEP_MS
        first, end = int(cuts[second]), int(cuts[second + 1])
        step, group, on_target = batch[slice(first, end)], site.group[first:end], np.zeros(end - first, bool)
        if campaign is not None and sent is not None:
            rows, at_s = campaign.due(now_ms / 1000, sight)
            if len(rows):
                at_ms = np.clip(np.floor(at_s * 1000).astype(np.int64), now_ms, now_ms + STEP_MS - 1)
                step, order = batch_columns.merge([step, batch_columns.take(sent, rows, at_ms)])
                group = np.concatenate([group, np.full(len(rows), INJECTED, np.int8)])[order]
                on_target = np.concatenate([on_target, is_target[rows]])[order]
                accounts.update(sent.actor[rows[is_target[rows]]].tolist())
        first_number, judged = defence.n_seen(), defence.step(step)
        trace.ledger.note(now_ms, first_number, step.received_ms, group, on_target, judged)
        defence.advance(now_ms + STEP_MS - 1)
        items, scores = defence.top(WATCHED_DEPTH)
        trace.tops.append(items)
        trace.last.append(float(scores[SERVED - 1]) if len(scores) >= SERVED else 0.0)
        for item in watch:
            trace.scores[item].append(defence.score(item))
        trace.n_accounts.append(len(accounts))
        if on_second:
            on_second(defence, step, group)
    return trace
