"""Break the counts of items down: by actor, by size, by country.

    Trend ──> contributions: what each actor adds to an item
          ──> sizes: the same of the best items, in classes, for `place_prices.fewest_clickers`
          ──> region_counts: what each country adds

They read the tables of a trend and change nothing. A step needs none of them.
"""

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import country_name
from recommender.core.tables import Table, decay, hashing
from recommender.core.trend import count_kernels
from recommender.core.trend.trend import Trend

MAX_SIZES = 24  # classes of contributions returned for an item, with the smaller ones joined into the last
# of contributions: how many, their sum, the largest, in order of size, large first
Sizes = list[tuple[int, int, int]]


def contributions(trend: Trend, item: str, half: int = 0) -> NDArray[np.int64]:
    """Return the amount each actor adds to an item's count now, largest first.

    The amounts are before networks. There are none for an item on which no one acted. 1 ns a pair of the whole
    table.
    """
    if item not in trend.names:
        return np.empty(0, np.int64)
    key = trend.items.keys[trend.names.index(item)]
    return np.sort(count_kernels.contributions(trend.views[0], trend.views[5], half, key))[::-1]


def sizes(trend: Trend, depth: int) -> dict[str, Sizes]:
    """Return, by size, the amounts that actors add to the counts of the best items.

    See `place_prices.fewest_clickers`. One pass over all pairs: 1 ns each, and 15 ns each for a pair of one of
    these items. At most `LIST_DEPTH` items.
    """
    rows = trend.leading_rows(depth)
    wanted = Table({})
    wanted.reserve(len(rows))
    wanted.keys[: len(rows)] = trend.items.keys[rows]
    hashing.fill_slots(wanted.slots, wanted.keys, len(rows))
    found = count_kernels.sizes_of(trend.views[0], trend.views[5], wanted.slots, wanted.keys, len(rows))
    answer = {}
    for of_item, row in zip(found, rows, strict=True):
        classes = of_item[np.flatnonzero(of_item[:, 0])[::-1]].tolist()
        small = classes[MAX_SIZES - 1 :]
        if len(small) > 1:
            classes[MAX_SIZES - 1 :] = [[sum(n for n, _, _ in small), sum(s for _, s, _ in small), small[0][2]]]
        answer[trend.names[row]] = [tuple(each) for each in classes]
    return answer


def region_counts(trend: Trend, half: int = 0) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return, by country, the rows of items and their counts above zero there.

    For the served half-life a count is at most the item's score. Items evicted since are left out.
    """
    counts = decay.combine_all(trend.regions.data["counts"], len(trend.regions), half, trend.epoch(half))
    rows = hashing.find_all(trend.items.slots, trend.items.keys, trend.regions["item"])
    if half == 0 and len(trend.items):
        counts = np.minimum(counts, trend.items["score"][rows])
    codes = trend.regions["country"]
    is_listed = (rows >= 0) & (counts > 0)
    answer = {}
    for code in np.unique(codes[is_listed]):
        of_country = np.flatnonzero(is_listed & (codes == code))
        answer[country_name(int(code))] = (rows[of_country], counts[of_country])
    return answer
