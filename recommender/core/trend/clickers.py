"""Clickers by size, as r_j needs them, without a pass over all pairs every time.

    count_breakdowns.sizes ──refresh──> the sizes at that time, each item's count, all that was ever removed from it
                             + the growth since, whoever it came from ──> sizes that add up to no less

`place_prices.fewest_clickers` computes r_j from these sizes. An item's growth is its count now, less its count at the
refresh, plus the amount removed meanwhile. Any r actors together are limited in two ways. They add at most r
full-weight acts made now. They also add at most the growth, on top of the amount that the largest r added at the
refresh. The largest r of the sizes returned add up to the lesser of the two. So r_j is a lower bound, and it is
tightest right after a refresh.

Nothing of this belongs to the state. It is forgotten whenever the scale of the counts changes.
"""

import numpy as np

from recommender.core.trend import count_breakdowns
from recommender.core.trend.count_breakdowns import Sizes
from recommender.core.trend.trend import Trend


class Clickers:
    """Sizes of the clickers of the best `depth` items.

    `refresh` passes over all pairs, `sizes` over the items.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._trend: Trend | None = None
        self._epoch = 0
        self._then: dict[str, tuple[Sizes, int]] = {}  # with the count plus the amount removed

    def is_of(self, trend: Trend) -> bool:
        """Return True if the sizes held are of this trend, on its present scale."""
        return self._trend is trend and self._epoch == trend.epoch()

    def refresh(self, trend: Trend) -> None:
        """Read the sizes anew from the trend."""
        taken = count_breakdowns.sizes(trend, self._depth)
        self._then = {item: (taken[item], added) for item, added in self._added(trend).items()}
        self._trend, self._epoch = trend, trend.epoch()

    def sizes(self, trend: Trend) -> dict[str, Sizes]:
        """Return, by item, at least as much as actors add now.

        Refresh first if `is_of` is False.
        """
        unit = trend.unit(trend.now_ms)
        answer = {}
        for item, added in self._added(trend).items():
            sizes, before = self._then.get(item, ([], 0))
            since = added - before
            answer[item] = grown(sizes, since, unit) if since > 0 else sizes
        return answer

    def _added(self, trend: Trend) -> dict[str, int]:
        """Return, by item, its count before networks plus all amounts removed from it.

        The removed amounts are those since the trend was made.
        """
        rows = trend.leading_rows(self._depth)
        added = trend.items["score"][rows] + trend.items["excess"][rows] + trend.items["removed"][rows]
        return dict(zip([trend.names[row] for row in rows], added.astype(np.int64).tolist(), strict=True))


def grown(sizes: Sizes, since: int, unit: int) -> Sizes:
    """Return sizes that are enough after growth of `since`.

    No contribution is above `unit`. Within that limit, the largest r add up to at least as much as they can by then.
    O(classes).

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
            more = total + part - n_full * unit  # of no actor in particular
            rest = (n_before + n - n_full, amount - part, largest)
            return [(n_full, n_full * unit, unit), (0, more, unit), rest, *sizes[at + 1 :]]
        n_before, total = n_before + n, total + amount
    n_full, more = divmod(total, unit)
    return [(n_full, n_full * unit, unit), (int(more > 0), more, unit)]
