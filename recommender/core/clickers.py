"""Clickers by size: what r_j (`certificate.fewest_clickers`) needs, without a pass over all pairs every time.

    trend.sizes ──refresh──> as they were then, with the item's count and all that was ever taken out of it
                             + what came since, counted as if it came in contributions as large as can be ──> sizes

What came since an item's sizes were taken is its count now, less its count then, plus what was taken out meanwhile.
Told as full-weight acts made now, of which the fewest make up a sum, and with what was taken out still in, every sum
of the largest r is at least what it is: r_j is a lower bound, the tightest right after a refresh. Nothing of this
belongs to the state; it is forgotten whenever the scale of the counts changes.
"""

import numpy as np

from recommender.core.trend import Sizes, Trend


class Clickers:
    """Of the best `depth` items. `refresh` passes over all pairs, `sizes` over the items."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._trend: Trend | None = None
        self._epoch = 0
        self._then: dict[str, tuple[Sizes, int]] = {}  # and count plus what was taken out

    def is_of(self, trend: Trend) -> bool:
        """Is what is remembered of this trend, on its present scale?"""
        return self._trend is trend and self._epoch == trend.epoch()

    def refresh(self, trend: Trend) -> None:
        """Take the sizes as they are."""
        taken = trend.sizes(self._depth)
        self._then = {item: (taken[item], added) for item, added in self._added(trend).items()}
        self._trend, self._epoch = trend, trend.epoch()

    def sizes(self, trend: Trend) -> dict[str, Sizes]:
        """By item: at least what actors add now; refresh first where it is not `is_of`."""
        unit = trend.unit(trend.now_ms)
        answer = {}
        for item, added in self._added(trend).items():
            sizes, before = self._then.get(item, ([], 0))
            since = added - before
            answer[item] = [(-(-since // unit), since, unit), *sizes] if since > 0 else sizes
        return answer

    def _added(self, trend: Trend) -> dict[str, int]:
        """By item: its count, before networks, plus all that was ever taken out of it since the trend was made."""
        rows = trend.leading_rows(self._depth)
        added = trend.items["score"][rows] + trend.items["excess"][rows] + trend.items["removed"][rows]
        return dict(zip([trend.names[row] for row in rows], added.astype(np.int64).tolist(), strict=True))
