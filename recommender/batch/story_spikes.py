"""Find the stories that broke in a log: the largest genuine spikes.

    files ──acts by item and hour, streamed──> honest_cost.risen ──> the largest, one an item ──their acts──> Spike

A story breaks with the first act of the first ten minutes that have a fiftieth of the acts of its hour. Acts of the
hour before are looked at too, because a story does not begin at a full hour. Memory: a row per item and hour, and the
acts of the chosen stories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.vocabulary import HOUR_MS, MINUTE_MS
from recommender.lab.attack.trials import honest_cost

STRETCH_MS = 10 * MINUTE_MS
SHARE = 0.02
MIN_FIRST = 5  # smallest number of acts that can be a beginning
FOLLOWED_MS = 2 * HOUR_MS
LARGEST = 20


@dataclass(frozen=True, slots=True)
class Spike:
    """A story that broke.

    n: acts in its hour. baseline: hourly acts of the day before.
    at_ms: int64, ascending, times of its acts from the break on, for FOLLOWED_MS.
    """

    item: str
    n: int
    baseline: float
    broke_ms: int
    at_ms: NDArray[np.int64]

    @property
    def window(self) -> tuple[int, int]:
        """Return the time in which the story is followed, from a minute before the break."""
        return self.broke_ms - MINUTE_MS, self.broke_ms + FOLLOWED_MS


def find(rows: pl.LazyFrame, *, largest: int = LARGEST, after_ms: int = 0) -> list[Spike]:
    """Return the largest spikes of a log that broke after a time, largest first.

    The log has the columns ts and item. Its first day has no spikes, because there is no day before to compare it
    with.
    """
    hour = (pl.col("ts") * 1000 // HOUR_MS).cast(pl.Int64)
    item = pl.col("item").cast(pl.String)
    counts = rows.group_by(item, hour.alias("hour")).agg(pl.len().cast(pl.Int64).alias("n"))
    found = counts.collect(engine="streaming")
    if not len(found):
        return []
    first, last = int(cast(Any, found["hour"].min())) + 24, int(cast(Any, found["hour"].max())) - 1
    risen = honest_cost.risen(found, max(first, -(-after_ms // HOUR_MS)), last)
    risen = risen.sort(["hour"]).unique("item", keep="first", maintain_order=True)
    chosen = risen.sort(["n", "item"], descending=[True, False]).head(largest)
    acts = _acts(rows, chosen)
    return [_spike(row, acts.get(row["item"], np.empty(0, np.int64))) for row in chosen.iter_rows(named=True)]


def broke(at_ms: NDArray[np.int64], n: int) -> int:
    """Return the time at which a story with n acts in its hour broke.

    at_ms: times of its acts. If they never come fast, the story broke with the first.

    >>> broke(np.array([0, 3_000_000, 3_600_000, 3_600_010, 3_600_020, 3_600_030, 3_600_040]), 250)
    3600000
    """
    k = min(len(at_ms), max(MIN_FIRST, int(np.ceil(SHARE * n))))
    is_fast = at_ms[k - 1 :] - at_ms[: len(at_ms) - k + 1] < STRETCH_MS
    return int(at_ms[int(is_fast.argmax())])


def _acts(rows: pl.LazyFrame, chosen: pl.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the times of acts on each chosen item, from an hour before its hour on."""
    start = chosen.select("item", ((pl.col("hour") - 1) * HOUR_MS).alias("from_ms"))
    acts = (
        rows.select(pl.col("item").cast(pl.String), (pl.col("ts") * 1000).floor().cast(pl.Int64).alias("at_ms"))
        .join(start.lazy(), on="item", how="inner")
        .filter(pl.col("at_ms").is_between(pl.col("from_ms"), pl.col("from_ms") + 2 * HOUR_MS + FOLLOWED_MS))
        .collect(engine="streaming")
        .sort("item", "at_ms")
    )
    return {str(item): part["at_ms"].to_numpy() for (item,), part in acts.group_by("item", maintain_order=True)}


def _spike(row: dict[str, Any], at_ms: NDArray[np.int64]) -> Spike:
    n, baseline = int(row["n"]), float(row["baseline"])
    at = broke(at_ms, n)
    followed = at_ms[(at_ms >= at) & (at_ms < at + FOLLOWED_MS)]
    return Spike(str(row["item"]), n, baseline, at, followed)


def first_minutes(spikes: Sequence[Spike], minutes: int) -> list[NDArray[np.int64]]:
    """Return for each spike the times of its acts in the first minutes."""
    return [spike.at_ms[spike.at_ms < spike.broke_ms + MINUTE_MS * minutes] for spike in spikes]
