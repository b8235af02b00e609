"""Certificates: the price of pushing an item into a list.

No learner is needed, so web processes use this module too.

Counts are capped. A set A of colluding actors adds at most the sum of its weights, W(A), to any one item, and cannot
lower another. So the best item outside the list takes the place of a listed item j only if

    W(A) > S_j - S_out ,    and with fresh actors of weight w:   m* = floor((S_j - S_out) / w) + 1

actors are needed. m* simultaneous acts do it, so the bound is exact (ties keep the incumbent). W* = S_j - S_out is
the same price in trust. It holds for any mix of actors, even for those whose accounts were taken over.

Networks count concavely (see `trend`). All of this needs only three properties of a score. An act adds at most its
weight. It lowers no other item's score. Its removal takes away at most its weight. The number m* stays exact, because
that many actors, each in a network of its own, do it.

Networks have a price as well. Let a prefix hold at most 256 fresh actors, one for each address of a /24. No matter
how many clicks a prefix has already, these add at most phi(256 w) more, since phi is concave and phi(0) = 0. Groups
of prefixes only lower that. So g* = floor((S_j - S_out) / phi(256 w)) + 1 prefixes are needed. If one address can
send any number of new actors, g* is no bound, but m* is. Nothing in IPv6 or in a carrier's NAT prevents that.

An item already in the list may owe its place to false clicks. Let M_j = S_j - S_out be its margin. Let r_j be the
fewest of its largest contributions whose sum is more than M_j. If fewer than r_j of its clickers were fake, the item
stays, no matter how few were honest. If its networks are over the knee, removing clickers takes away less than they
contributed, and r_j is a lower bound.

The list as a whole: let each of e actors add at most `unit` to one item, and at most its budget to all. They can drop
d of the list's k items only under two conditions. With D_t = S_(k-d+1) - S_(k+t) for t = 1..d, the largest D_t must
be less than e units, and their sum less than e budgets. Then r(e) = k - d at the largest such d is the number of the
list's items that are certain.

The list certificate is the deterministic analogue of Jia et al., *PORE: Provably Robust Recommender Systems* (USENIX
Security 2023).
"""

from collections.abc import Sequence
from itertools import accumulate


def margins(counts: Sequence[int], outside: int, unit: int, fresh: int) -> tuple[list[int], list[float]]:
    """Return the price of each listed item's place, for the best item outside.

    counts: of the listed items, best first, as integers. On their scale an act made now adds `unit` at full trust,
    and `fresh` from an actor never seen before.
    outside: count of the best item not listed, 0 if none.

    Returns, place by place, the number of fresh actors, m*, and the trust, W* = S_j - S_out in units.

    >>> margins([1250, 300], 300, unit=100, fresh=5)
    ([191, 1], [9.5, 0.0])
    """
    gaps = [max(0, count - outside) for count in counts]
    return [gap // fresh + 1 for gap in gaps], [gap / unit for gap in gaps]


def networks(counts: Sequence[int], outside: int, capacity: int) -> list[int]:
    """Return the fewest prefixes, g*, from which new actors could take each place.

    See `margins`.
    capacity: the most that the new actors of one prefix add, 0 if that is not known.

    >>> networks([1250, 300], 300, 110)
    [9, 1]
    """
    return [max(0, count - outside) // capacity + 1 if capacity else 1 for count in counts]


def dependence(contributions: Sequence[int], margin: int) -> int:
    """Return how many of an item's own clickers must be fake before it falls out: r_j.

    Its place is certain against r_j - 1.

    contributions: the amount each actor adds to its count, largest first.
    margin: S_j - S_out, at least 0.

    Returns a number from 1 to len(contributions) + 1. The last means that all of them together do not reach the
    margin.

    >>> dependence([50, 30, 20], 60), dependence([50, 30, 20], 0), dependence([50], 50)
    (2, 1, 2)
    """
    total = 0
    for n, contribution in enumerate(contributions, start=1):
        total += contribution
        if total > margin:
            return n
    return len(contributions) + 1


def fewest_clickers(sizes: Sequence[Sequence[int]], margin: int) -> int:
    """Return `dependence` for contributions that are known by size only.

    The result is at most r_j. It is r_j itself if each class holds contributions of one size. O(classes).

    sizes: (number, sum, largest) of each class, large contributions first.

    >>> fewest_clickers([(1, 50, 50), (2, 50, 30)], 60), fewest_clickers([(3, 100, 50)], 60)
    (2, 2)
    """
    n_before = total = 0
    for n, amount, largest in sizes:
        if total + amount > margin:
            return n_before + (margin - total) // largest + 1
        n_before, total = n_before + n, total + amount
    return n_before + 1


def certain_places(counts: Sequence[int], k: int, n_actors: int, unit: int, budget: int) -> int:
    """Return how many of the first k items stay listed against n actors: r(e).

    They stay no matter how these actors act. O(k).

    counts: of all items, best first, with 0 for missing ones.
    unit: the most one actor adds to an item.
    budget: the most one actor adds to all items.

    >>> [certain_places([900, 800, 300, 290, 100], 3, e, unit=10, budget=20) for e in (0, 1, 2, 30, 1000)]
    [3, 3, 2, 2, 0]
    """
    count = [*counts[: 2 * k], *[0] * max(0, 2 * k - len(counts))]
    k = min(k, sum(1 for each in count[:k] if each > 0))
    outside = [0, *accumulate(count[k : 2 * k])]
    for dropped in range(k, 0, -1):
        to_beat = count[k - dropped]
        largest, total = to_beat - count[k + dropped - 1], dropped * to_beat - outside[dropped]
        if largest < n_actors * unit and total < n_actors * budget:
            return k - dropped
    return k


def link_margins(
    counts: Sequence[int],
    outside: Sequence[tuple[int, int]],
    unit: int,
    fresh: int,
    least: int,
    min_actors: int,
) -> tuple[list[int], list[float]]:
    """Return the price of each place in the list shown next to an item.

    See `affinity` for such lists. As in `margins`, the price is a number of new actors and an amount of trust, for
    the nearest item outside.

    A link is shown only with at least `min_actors` actors and a count of at least `least`. An actor adds at most one
    act's weight to it. Take an item outside with count c and n actors behind it. With m new actors it takes the place
    of a count S exactly if

        c + m fresh > S ,    c + m fresh >= least ,    n + m >= min_actors

    m* is the least such m of all items outside, and that many simultaneous acts do it. There is one exception. If one
    actor fewer would leave the two with equal counts, m* is one less. Ties go to the smaller key, which may
    be either's. The price in trust depends on the weight alone.

    outside: (count, actors) of every link of the item that is not listed. One never made counts as (0, 0).

    >>> link_margins([1250, 300], [(300, 2)], unit=100, fresh=5, least=100, min_actors=3)
    ([190, 1], [9.5, 0.0])
    >>> link_margins([10], [(9, 1)], unit=100, fresh=5, least=10, min_actors=8)
    ([7], [0.01])
    """
    nearest = _frontier(outside)
    actors = [min(_fewest(each, max(count, least), fresh, min_actors) for each in nearest) for count in counts]
    most = nearest[0][0]
    return actors, [max(0, count - most, least - most) / unit for count in counts]


def entry_margin(outside: Sequence[tuple[int, int]], fresh: int, least: int, min_actors: int) -> int:
    """Return the new actors needed to show one more item in a list that has room.

    See `link_margins`.

    >>> entry_margin([(80, 1)], fresh=5, least=100, min_actors=3), entry_margin([], 5, 100, 3)
    (4, 20)
    """
    return min(_fewest(each, least, fresh, min_actors) for each in _frontier(outside))


def _fewest(link: tuple[int, int], to_reach: int, fresh: int, min_actors: int) -> int:
    """Return how many new actors bring a link to a count and to enough actors."""
    count, n_actors = link
    return max(1, -((count - to_reach) // fresh), min_actors - n_actors)


def _frontier(outside: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the links that no other link exceeds in both count and actors.

    Largest counts come first.
    """
    kept: list[tuple[int, int]] = []
    for count, n_actors in sorted([*outside, (0, 0)], reverse=True):
        if not kept or n_actors > kept[-1][1]:
            kept.append((count, n_actors))
    return kept
