"""Clickers by size: what r_j (`place_prices.fewest_clickers`) needs, without a pass over all pairs every time.

    trend.sizes ──refresh──> as they were then, with the item's count and all that was ever taken out of it
                             + what came since, whoever it came from ──> sizes that add up to no less

What came since an item's sizes were taken is its count now, less its count then, plus what was taken out meanwhile.
Any r actors add at most r full-weight acts made now, and at most what came since on top of what the largest r of them
added then. Sizes are told whose largest r make up the lesser of the two: r_j is a lower bound, the tightest right
after a refresh. Nothing of this belongs to the state; it is forgotten whenever the scale of the counts changes.
"""

import numpy as np

from recommender.core.trend.trend import Sizes, Trend


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
            answer[item] = grown(sizes, since, unit) if since > 0 else sizes
        return answer

    def _added(self, trend: Trend) -> dict[str, int]:
        """By item: its count, before networks, plus all that was ever taken out of it since the trend was made."""
        rows = trend.leading_rows(self._depth)
        added = trend.items["score"][rows] + trend.items["excess"][rows] + trend.items["removed"][rows]
        return dict(zip([trend.names[row] for row in rows], added.astype(np.int64).tolist(), strict=True))


def grown(sizes: Sizes, since: int, unit: int) -> Sizes:
    """Sizes after `since` more, when nobody's contribution is above `unit`: the largest r make up at least what they
    can by then. O(classes).

    >>> grown([(2, 50, 30)], 15, unit=40)  # at most 40, 65, 65 from one, two, three
    [(1, 40, 40), (0, 5, 40), (1, 20, 30)]
    """
    n_before, total = 0, since
    for at, (n, amount, largest) in enumerate(sizes):
        if total + amount < (n_before + n) * unit:
            n_full = (total + amount) // unit
            if largest < unit:
                n_full = min(n_full, (total - n_before * largest) // (unit - largest))
            part = min(amount, (n_full - n_before) * largest)
            more = total + part - n_full * unit  # nobody's in particular
            rest = (n_before + n - n_full, amount - part, largest)
            return [(n_full, n_full * unit, unit), (0, more, unit), rest, *sizes[at + 1 :]]
        n_before, total = n_before + n, total + amount
    n_full, more = divmod(total, unit)
    return [(n_full, n_full * unit, unit), (int(more > 0), more, unit)]
