"""Delays and false alarms of drift detectors, on made streams and on a real log.

    Bernoulli stream, 0.70 ──> ADWIN, PageHinkley, HDDM_A, HDDM_W, CUSUM, the pair, ours ──> delay, false alarms
    real log ──> Pipeline ──> its predictions, step by step ──> Drift, as it is: false stops
                                                          └──> from N places on, some hits made misses: delay
                                                          └──> or noise sent by fresh accounts (A17): forced stops

Only this module imports River's detectors, because the import takes a second.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley
from river.drift.binary import HDDMA, HDDMW

from recommender.core.parquet_log import LogFile
from recommender.core.pipeline import Config, Pipeline
from recommender.core.quality import Drift
from recommender.core.quality.drift import DriftConfig, Level, log_likelihood_ratios
from recommender.core.quality.drift_kernels import MISS, ONE
from recommender.core.trend.trend import PROMISE_ONE
from recommender.core.vocabulary import SECOND_MS
from recommender.lab.bench.results import BenchRow, percentile

BASE, RISES = 0.70, (0.05, 0.10, 0.20)
N_RUNS, BEFORE, AFTER = 15, 10_000, 20_000
N_LEVEL, LEVEL_RUNS = 100_000, 5
WINDOW = 2000  # window of the pair
STEP_MS = 2 * SECOND_MS
N_PLACES, PATIENCE = 60, 10_000
FIRST_PLACE = 0.05  # share of the log before which nothing is known
BUDGET_DELAY = 1000
NEVER = -(1 << 60)

Detector = Callable[[int], bool]


def _river(make: Callable[[], Any]) -> Detector:
    detector = make()

    def update(miss: int) -> bool:
        detector.update(miss)
        return bool(detector.drift_detected)

    return update


def _cusum(height: float) -> Detector:
    hit, miss_ratio = (float(each) / ONE for each in log_likelihood_ratios(0.08)[int(BASE * 1024)])
    total = 0.0

    def update(miss: int) -> bool:
        nonlocal total
        total = max(0.0, total + (miss_ratio if miss else hit))
        if total <= height:
            return False
        total = 0.0
        return True

    return update


def _pair() -> Detector:
    hddm, cusum, last, n = _river(HDDMA), _cusum(9.0), [NEVER, NEVER], 0

    def update(miss: int) -> bool:
        nonlocal n, last
        n += 1
        for number, detector in enumerate((hddm, cusum)):
            if detector(miss):
                last[number] = n
        if n - min(last) >= WINDOW:
            return False
        last = [NEVER, NEVER]
        return True

    return update


def _ours() -> Detector:
    """Make Groundswell's detector, on a board that explains nothing.

    It learns the rate.
    """
    drift, row, seen = Drift(DriftConfig(few=0.0, steady=0.0), 300), np.ones((1, 4), np.int8), 0
    row[0, 3] = 0
    drift.look(PROMISE_ONE, 0)

    def update(miss: int) -> bool:
        nonlocal seen
        seen += 1
        row[0, 0] = MISS if miss else 1
        return drift.learn(row, seen * 100).level == Level.STOP

    return update


DETECTORS: dict[str, Callable[[], Detector]] = {
    "ADWIN (default)": lambda: _river(ADWIN),
    "ADWIN delta=1e-6": lambda: _river(lambda: ADWIN(delta=1e-6)),
    "PageHinkley (default)": lambda: _river(PageHinkley),
    "PageHinkley 20, .02, up": lambda: _river(lambda: PageHinkley(threshold=20, delta=0.02, mode="up")),
    "HDDM_A (default)": lambda: _river(HDDMA),
    "HDDM_W (default)": lambda: _river(HDDMW),
    "CUSUM 0.70->0.78, h=6": lambda: _cusum(6.0),
    "CUSUM 0.70->0.78, h=9": lambda: _cusum(9.0),
    "HDDM_A and CUSUM h=9": _pair,
    "core/quality/drift.py, rate learned": _ours,
}


def delays(make: Callable[[], Detector], rise: float, *, seed: int) -> list[int | None]:
    """Return the events from the rise to the first alarm after it, by run.

    An entry is None if there is no alarm within AFTER events.
    """
    found: list[int | None] = []
    for run in range(N_RUNS):
        rng, detector = np.random.default_rng([seed, run]), make()
        for miss in (rng.random(BEFORE) < BASE).tolist():
            detector(int(miss))
        after = (rng.random(AFTER) < BASE + rise).tolist()
        found.append(next((n for n, miss in enumerate(after, start=1) if detector(int(miss))), None))
    return found


def false_alarms(make: Callable[[], Detector], *, seed: int) -> float:
    """Count the alarms in 100,000 events of a level stream."""
    n = 0
    for run in range(LEVEL_RUNS):
        rng, detector = np.random.default_rng([seed, 1000 + run]), make()
        n += sum(detector(int(miss)) for miss in (rng.random(N_LEVEL) < BASE).tolist())
    return n / LEVEL_RUNS * 100_000 / N_LEVEL


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions of a Pipeline on a log, by step.

    ranks: int8 (n, 4).
    promise: the board's promise.
    now_ms: stream time.
    """

    ranks: list[NDArray[np.int8]]
    promise: list[int]
    now_ms: list[int]
    half_life_s: int

    def feed(self, drift: Drift, step: int, ranks: NDArray[np.int8]) -> Level:
        """Give a step to a detector, with other answers."""
        if drift.is_due(self.now_ms[step]):
            drift.look(self.promise[step], self.now_ms[step])
        return drift.learn(ranks, self.now_ms[step]).level


def predictions(path: Path, config: Config, *, limit: int | None = None) -> Predictions:
    """Fold a log in steps of 2 s. It takes 1 to 2 minutes per million events."""
    pipeline = Pipeline(config)
    made = Predictions([], [], [], config.half_lives_s[0])
    for step in LogFile(path, limit=limit).steps(pipeline.encoder, bucket_ms=STEP_MS):
        ranks = pipeline.step(step.batch).ranks
        made.ranks.append(ranks[ranks[:, 0] > 0])
        made.promise.append(pipeline.drift.promise)
        made.now_ms.append(pipeline.stream_ms)
    return made


Change = Callable[[NDArray[np.int8], np.random.Generator], NDArray[np.int8]]


def worsened(share: float, *, both: bool = False) -> Change:
    """Turn this share of the hits into misses.

    If `both` is set, the steady list loses them too.
    """

    def change(ranks: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
        ranks, is_lost = ranks.copy(), rng.random(len(ranks)) < share
        ranks[is_lost, 0] = MISS
        if both:
            ranks[is_lost, 2] = MISS
        return ranks

    return change


def flooded(share: float) -> Change:
    """Let fresh accounts click on items in no list, `share` of them per prediction."""

    def change(ranks: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
        noise = np.full((rng.poisson(share * len(ranks)), 4), MISS, np.int8)
        noise[:, 3] = 0
        mixed = np.concatenate([ranks, noise])
        return mixed[rng.permutation(len(mixed))]

    return change


def raised(made: Predictions, config: DriftConfig) -> tuple[int, int, float]:
    """Count stops and alerts over a log as it is, and return the largest CUSUM."""
    drift, levels, largest = Drift(config, made.half_life_s), [], 0.0
    for step, ranks in enumerate(made.ranks):
        levels.append(made.feed(drift, step, ranks))
        largest = max(largest, drift.statistic)
    return levels.count(Level.STOP), levels.count(Level.ALERT), largest


def delays_on(
    made: Predictions, config: DriftConfig, change: Change, *, seed: int, patience: int = PATIENCE, first: float
) -> list[int | None]:
    """Return the predictions from a change to the stop after it, by place.

    The change is tried at N_PLACES places of the log after the share `first`.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum([len(ranks) for ranks in made.ranks])
    wanted = np.sort(rng.integers(int(first * ends[-1]), ends[-1] - patience, N_PLACES))
    places = np.searchsorted(ends, wanted).tolist()
    drift, found = Drift(config, made.half_life_s), []
    for step, ranks in enumerate(made.ranks):
        while places and places[0] == step:
            found.append(_delay(made, config, change, drift.state(), places.pop(0), patience, rng))
        if not places:
            break
        made.feed(drift, step, ranks)
    return found


def _delay(
    made: Predictions,
    config: DriftConfig,
    change: Change,
    state: dict[str, Any],
    step: int,
    patience: int,
    rng: np.random.Generator,
) -> int | None:
    drift, n = Drift(config, made.half_life_s), 0
    drift.restore(state)
    while n < patience and step < len(made.ranks):
        ranks = change(made.ranks[step], rng)
        n += len(ranks)
        if made.feed(drift, step, ranks) == Level.STOP:
            return n
        step += 1
    return None


def told(found: list[int | None]) -> str:
    """Write the median, the 90th percentile and the number of missed changes."""
    reached = [PATIENCE * 10 if each is None else each for each in found]
    median, most = statistics.median(reached), percentile(reached, 0.9)
    words = [f"{each:,.0f}" if each < PATIENCE * 10 else "never" for each in (median, most)]
    return f"median {words[0]}, p90 {words[1]}, missed {sum(each is None for each in found)} of {len(found)}"


def measure(*, seed: int, path: Path | None, limit: int | None = None) -> Iterator[BenchRow]:
    """Yield a row per detector on made streams, then rows on the real log.

    The real log may be missing.
    """
    for name, make in DETECTORS.items():
        by_rise = {rise: delays(make, rise, seed=seed) for rise in RISES}
        yield BenchRow(
            measure=f"drift: {name}: false alarms",
            value=false_alarms(make, seed=seed),
            unit="/100 k",
            note="; ".join(f"+{rise:.2f}: {told(found)}" for rise, found in by_rise.items()),
        )
    if path is None:
        return
    made = predictions(path, Config(), limit=limit)
    n = sum(map(len, made.ranks))
    yield from real(made, seed=seed, name=f"{path.name}, {n:,} predictions")


def real(made: Predictions, *, seed: int, name: str) -> Iterator[BenchRow]:
    """Yield rows of Groundswell's detector on a log's own predictions."""
    config = DriftConfig()
    raw = replace(config, promise=0.0, steady=0.0, few=0.0)
    for title, each in (("raw misses", raw), ("as it is", config)):
        n_stops, n_alerts, largest = raised(made, each)
        yield BenchRow(
            measure=f"drift: false stops, {title}",
            value=n_stops,
            unit="stops",
            budget=0 if each is config else None,
            is_most=True,
            note=f"{name}; {n_alerts} alerts, largest CUSUM {largest:.1f}",
        )
    for rise, share in ((0.05, 1 / 14), (0.10, 1 / 7), (0.20, 2 / 7)):
        for both in (False, True):
            found = delays_on(made, config, worsened(share, both=both), seed=seed, first=FIRST_PLACE)
            reached = [PATIENCE if each is None else each for each in found]
            yield BenchRow(
                measure=f"drift: delay at +{rise:.2f}{', both lists' if both else ''}",
                value=statistics.median(reached),
                unit="predictions",
                budget=BUDGET_DELAY if rise == 0.10 and not both else None,
                is_most=True,
                note=told(found),
            )
    alone = replace(config, trusted_share=2.0)
    for share in (0.1, 0.3, 1.0):
        for title, each in (("", config), (", without the trusted", alone)):
            found = delays_on(made, each, flooded(share), seed=seed, patience=2000, first=0.6)
            yield BenchRow(
                measure=f"drift: stops forced, noise {share:.0%}{title}",
                value=sum(stop is not None for stop in found) / len(found),
                unit="of floods",
                note=told(found),
            )
