"""Figures of health, which show how good and how safe a Pipeline's lists are.

    Pipeline ──watch()──> quality by population, drift, concentration and margins of the board, the trust behind it,
                          shares of events that the screen stops

The functions change nothing and remember nothing. The Pipeline's parts keep the figures that need memory. Policy,
thresholds and people are in other modules.

0.15 ms, and 0.4 ns a pair. With a million pairs that is 0.6 ms. Only the newest MAX_PAIRS rows are read. So call it
every few seconds, not every step.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.pipeline import Pipeline
from recommender.core.quality.drift import Level
from recommender.core.screen.pressure import HELD, QUARANTINED
from recommender.core.trend.place_prices import margins
from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE

SERVED = 10  # places whose margins are reported
# a unit below 0.2: of an actor who has earned little, or a view by one who has earned a fair part
LOW_WEIGHT = WEIGHT_ONE // 5
MAX_PAIRS = 1 << 20
REACH = 12  # half-lives after which a unit is ignored here, since 2**-12 of it is left


@dataclass(frozen=True, slots=True)
class Watch:
    """Rates and shares in [0, 1], times as stream time in ms.

    hit_rate: of the last hour, for each population, with the number of predictions it is based on.
    drift: the CUSUM in nats, to compare with the heights of DriftConfig. level: the alarm level now.
    top_share: the first place's share of the mass of the first 20.
    gini: of the counts of the first 20, 0 = all equal.
    low_trust_share: the share of that mass that comes from units below 0.2.
    least_actors, least_trust: the price of the cheapest place among the first 10, m* and W*, or 0 without a board.
    held_share, quarantine_share: of the last hour's events.
    pressure: see core.screen.pressure, 1.0 = as usual.
    """

    stream_ms: int
    hit_rate: float
    trusted_hit_rate: float
    canary_hit_rate: float
    steady_hit_rate: float
    n_predictions: int
    n_trusted: int
    n_canary: int
    drift: float
    level: Level
    top_share: float
    gini: float
    low_trust_share: float
    least_actors: int
    least_trust: float
    held_share: float
    quarantine_share: float
    pressure: float


def watch(pipeline: Pipeline) -> Watch:
    """Return the figures as of the last step."""
    evaluation, board = pipeline.evaluation, pipeline.board(PLACES + 1)
    everybody, trusted, canary = (
        evaluation.recent("trending", 1, population) for population in ("all", "trusted", "canary")
    )
    counts = board.counts[:PLACES].astype(np.float64)
    served = [int(count) for count in board.counts[: SERVED + 1]]
    outside = served[SERVED] if len(served) > SERVED else 0
    actors, trust = margins(served[:SERVED], outside, board.unit, board.fresh)
    return Watch(
        stream_ms=pipeline.stream_ms,
        hit_rate=everybody.hit_rate,
        trusted_hit_rate=trusted.hit_rate,
        canary_hit_rate=canary.hit_rate,
        steady_hit_rate=evaluation.recent("steady", 1).hit_rate,
        n_predictions=everybody.n,
        n_trusted=trusted.n,
        n_canary=canary.n,
        drift=pipeline.drift.statistic,
        level=pipeline.drift.level,
        top_share=float(counts[0] / counts.sum()) if counts.sum() > 0 else 0.0,
        gini=gini(counts),
        low_trust_share=low_trust_share(pipeline),
        least_actors=min(actors, default=0),
        least_trust=min(trust, default=0.0),
        held_share=pipeline.pressure.share(HELD),
        quarantine_share=pipeline.pressure.share(QUARANTINED),
        pressure=pipeline.pressure.ratio,
    )


def gini(counts: NDArray[np.float64]) -> float:
    """Return the Gini coefficient of a list's counts.

    It is 0 if all counts are equal or there are none.

    >>> gini(np.array([3.0, 3.0, 3.0])), round(gini(np.array([9.0, 0.0, 0.0])), 3)
    (0.0, 0.667)
    """
    n, total = len(counts), float(counts.sum())
    if not n or total <= 0:
        return 0.0
    ranked = np.sort(counts)
    return max(0.0, float(2 * (np.arange(1, n + 1) * ranked).sum() / (n * total) - (n + 1) / n))


def low_trust_share(pipeline: Pipeline) -> float:
    """Return the share of the first 20 items' mass from units below 0.2."""
    pairs, half_ms = pipeline.trend.pairs, 1000 * pipeline.config.half_lives_s[0]
    first = max(0, len(pairs) - MAX_PAIRS)
    listed = np.sort(pipeline.trend.leaders()[:PLACES])
    low, total = _masses(
        pairs["item"][first:], pairs["at_ms"][first:], pairs["weight"][first:], listed, pipeline.stream_ms, half_ms
    )
    return low / total if total else 0.0


@njit(cache=True)
def _masses(
    item: NDArray[np.uint64],
    at_ms: NDArray[np.int64],
    weight: NDArray[np.int32],
    listed: NDArray[np.uint64],
    now_ms: int,
    half_ms: int,
) -> tuple[float, float]:
    """Return the mass that units add to the listed items now.

    First the mass of units below LOW_WEIGHT, then the mass of all units. listed: keys, ascending.
    """
    low = total = 0.0
    oldest_ms = now_ms - REACH * half_ms
    for pair in range(item.size):
        if at_ms[pair] < oldest_ms or weight[pair] <= 0:
            continue
        first, end = 0, listed.size
        while first < end:
            middle = (first + end) // 2
            if listed[middle] < item[pair]:
                first = middle + 1
            else:
                end = middle
        if first < listed.size and listed[first] == item[pair]:
            mass = weight[pair] * 0.5 ** ((now_ms - at_ms[pair]) / half_ms)
            total += mass
            if weight[pair] < LOW_WEIGHT:
                low += mass
    return low, total
