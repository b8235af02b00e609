"""Measure the price of a place under different ranking rules, by trying.

    the last two days of a log ──> place(n): the place of a new item after n new accounts acted on it
                                              at that moment ──search──> the smallest n for the top 10, for the top 1

The rules of other sites are written here anew from their sources, in a few lines each. The product's two rules are
the product itself, given n acts of accounts that it has never seen.

    raw      decayed clicks, every click counts; one account is enough, so the price is in clicks
    hot      log10(votes) + age, one vote per account (Reddit; 45,000 s for a factor of ten)
    ratio    (accounts - expected)^2 / expected against yesterday, expected >= 1, at least 5 accounts, the peak fading
             with 4 h (Mastodon's trending tags)
    capped   one unit per account and item, decayed
    trusted  the same, a new account's unit weighted at the floor of trust; also at longer half-lives, where kept

A price grows with the memory of its rule. A rule that counts a day asks for as many accounts as a day's readers. A
rule that forgets in five minutes asks for those of five minutes. If items come back every day, `ratio` asks for very
few accounts: 1 plus the root of the score to beat. On a news site every item is new.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from recommender.core.pipeline import Pipeline
from recommender.lab.attack.defences.defences import Defence, Product
from recommender.lab.attack.trials.single_run import TrialSite, WarmStates

DAY_S = 86_400.0
HOT_S = 45_000.0
RATIO_HALF_S = 4 * 3600.0
RATIO_LEAST = 5
MOST = 2_000_000
SLOWER = {"trusted 1 h": 3600, "trusted 6 h": 21_600}
TARGET = "9999999999999"
RULES = {
    "raw": "decayed clicks, every click counts",
    "hot": "Reddit's hot: log10 of votes, plus age",
    "ratio": "Mastodon's trending tags: compared with yesterday",
    "capped": "caps only: one unit per account",
    "trusted": "caps + trust",
    "trusted 1 h": "caps + trust, half-life 1 h",
    "trusted 6 h": "caps + trust, half-life 6 h",
}


@dataclass(frozen=True, slots=True)
class MeasuredPrice:
    """Number of accounts, or None if no number below MOST is enough.

    For `raw` it is a number of acts of one account.
    """

    rule: str
    top10: int | None
    top1: int | None


def measure(site: TrialSite, start_ms: int, warm: WarmStates) -> list[MeasuredPrice]:
    """Measure the prices at one moment of a log, rule by rule.

    warm: knows the states at that moment.
    """
    past = site.log.filter(pl.col("ts") < start_ms / 1000, pl.col("ts") >= start_ms / 1000 - 2 * DAY_S)
    places = {
        "raw": _place_by_score(warm.state("none", start_ms).top(10**6)[1]),
        "hot": _hot(past, start_ms / 1000),
        "ratio": _ratio(past, start_ms / 1000),
        "capped": _product(site, start_ms, warm, "caps"),
        "trusted": _product(site, start_ms, warm, "trust"),
    }
    for rule, half_life_s in SLOWER.items():
        if half_life_s in site.config.half_lives_s:
            places[rule] = _slower(warm.state("trust", start_ms), half_life_s)
    return [MeasuredPrice(rule, cheapest(place, 10), cheapest(place, 1)) for rule, place in places.items()]


def cheapest(place: Callable[[int], int], wanted: int) -> int | None:
    """Find the smallest n with place(n) <= wanted.

    The place must not get worse with n.

    >>> cheapest(lambda n: max(1, 50 - n), 10)
    40
    """
    high = 1
    while place(high) > wanted:
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if place(middle) <= wanted else (middle, high)
    return high


def _place_by_score(scores: np.ndarray) -> Callable[[int], int]:
    """Return the place of a new item as a function of its score."""
    return lambda n: int((scores >= n).sum()) + 1


def _hot(past: pl.DataFrame, now_s: float) -> Callable[[int], int]:
    items = past.group_by("item").agg(pl.col("actor").n_unique().alias("votes"), pl.col("ts").min().alias("posted"))
    scores = (items["votes"].log10() + (items["posted"] - now_s) / HOT_S).to_numpy()
    return lambda n: int((scores >= np.log10(n)).sum()) + 1


def _ratio(past: pl.DataFrame, now_s: float) -> Callable[[int], int]:
    """Compare the counts of the last 24 h with those of the 24 h before, hour by hour.

    An item keeps its peak, which fades.
    """
    peaks: dict[str, tuple[float, float]] = {}
    for hour in range(23, -1, -1):
        at_s = now_s - 3600.0 * hour
        day = pl.when(pl.col("ts") >= at_s - DAY_S).then(pl.col("actor"))
        before = pl.when(pl.col("ts") < at_s - DAY_S).then(pl.col("actor"))
        counts = (
            past.filter(pl.col("ts") < at_s, pl.col("ts") >= at_s - 2 * DAY_S)
            .group_by("item")
            .agg(day.drop_nulls().n_unique().alias("now"), before.drop_nulls().n_unique().alias("before"))
        )
        expected = counts["before"].to_numpy().clip(1).astype(np.float64)
        seen = counts["now"].to_numpy().astype(np.float64)
        score = np.where((seen >= RATIO_LEAST) & (seen > expected), (seen - expected) ** 2 / expected, 0.0)
        for item, each in zip(counts["item"], score.tolist(), strict=True):
            peak, peak_s = peaks.get(item, (0.0, at_s))
            if each > peak * 0.5 ** ((at_s - peak_s) / RATIO_HALF_S):
                peaks[item] = (each, at_s)
    scores = np.array([peak * 0.5 ** ((now_s - at_s) / RATIO_HALF_S) for peak, at_s in peaks.values()])
    return lambda n: int((scores >= (float((n - 1) ** 2) if n >= RATIO_LEAST else 0.0)).sum()) + 1


def _product(site: TrialSite, start_ms: int, warm: WarmStates, name: str) -> Callable[[int], int]:
    """Let n new accounts act in one millisecond, and read the product's own list."""

    def place(n: int) -> int:
        defence = warm.state(name, start_ms)
        assert isinstance(defence, Product)
        encoder = Pipeline(site.config)
        actors = [str(10**15 + number) for number in range(n)]
        defence.step(encoder.encode(received_ms=np.full(n, start_ms), actors=actors, items=[TARGET] * n))
        items = defence.top(128)[0]
        return items.index(TARGET) + 1 if TARGET in items else 129

    return place


def _slower(defence: Defence, half_life_s: int) -> Callable[[int], int]:
    """Read the product's counts of another half-life, as if that were the one served."""
    assert isinstance(defence, Product)
    trend, config = defence.pipeline.trend, defence.pipeline.config
    half = config.half_lives_s.index(half_life_s)
    fresh = trend.unit(defence.pipeline.stream_ms, half) * config.trust.floor
    counts = trend.counts(half)
    return lambda n: int((counts >= n * fresh).sum()) + 1
