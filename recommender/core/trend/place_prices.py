"""The certificate: what it would cost to push something into a list. Needs no learner, so web processes use it too.

Counts are capped: a set A of colluding actors adds at most the sum of its weights, W(A), to any one item, and cannot
lower another. So the best item outside the list takes the place of a listed item j only if

    W(A) > S_j - S_out ,    and with fresh actors of weight w:   m* = floor((S_j - S_out) / w) + 1

are needed, and m* simultaneous acts do it: the bound is exact (ties keep the incumbent). W* = S_j - S_out says the
same in trust: it holds for any mix of actors, of those whose accounts were taken over too.

Networks count concavely (see `trend`), and none of this needs more of a score than that an act adds at most its
weight, lowers no other item's, and taken out again takes at most its weight. m* is exact still: as many actors, each
in a network of its own, do it.

Networks have a price as well. Let a prefix hold at most 256 fresh actors, one an address of a /24. Whatever the
clicks of a prefix come to already, these add at most phi(256 w) more, since phi is concave and phi(0) = 0, and groups
of prefixes only take from that. So g* = floor((S_j - S_out) / phi(256 w)) + 1 prefixes are needed. Where one address
can send as many new actors as it likes (nothing in IPv6 or a carrier's NAT forbids it), g* is no bound, but m* is.

What is in the list already may be there on false clicks. An item j with the margin M_j = S_j - S_out stays however
few of its clickers were honest, as long as fewer than r_j were fake, where r_j of its largest contributions are the
fewest whose sum is more than M_j. Where its networks are over the knee, taking clickers out takes less than they
contributed, and r_j is a lower bound.

The list as a whole: e actors who add at most `unit` to an item and at most their budget to all can drop d of its k
items only if, with D_t = S_(k-d+1) - S_(k+t) for t = 1..d, the largest D_t is less than e units and their sum less
than e budgets. r(e) = k - d at the largest such d is how many of the list's items are certain.

The list certificate is the deterministic analogue of Jia et al., *PORE: Provably Robust Recommender Systems* (USENIX
Security 2023).
"""

from collections.abc import Sequence
from itertools import accumulate


def margins(counts: Sequence[int], outside: int, unit: int, fresh: int) -> tuple[list[int], list[float]]:
    """Price of each listed item's place, for whoever wants to take it with the best item outside.

    counts: of the listed items, best first, as integers on the scale on which an act made now adds `unit` at full
    trust and `fresh` from an actor never seen before.
    outside: count of the best item not listed, 0 if none.
    Returns the number of fresh actors, m*, and the trust mass, W* = S_j - S_out in units, place by place.

    >>> margins([1250, 300], 300, unit=100, fresh=5)
    ([191, 1], [9.5, 0.0])
    """
    gaps = [max(0, count - outside) for count in counts]
    return [gap // fresh + 1 for gap in gaps], [gap / unit for gap in gaps]


def networks(counts: Sequence[int], outside: int, capacity: int) -> list[int]:
    """The fewest prefixes, g*, from which new actors could take each place; see `margins`.

    capacity: what the new actors of one prefix add at most; 0 where that is not known.

    >>> networks([1250, 300], 300, 110)
    [9, 1]
    """
    return [max(0, count - outside) // capacity + 1 if capacity else 1 for count in counts]


def dependence(contributions: Sequence[int], margin: int) -> int:
    """How many of an item's own clickers may be fake before it falls out: r_j. Its place is certain against r_j - 1.

    contributions: what each actor adds to its count, largest first. margin: S_j - S_out, at least 0.
    Returns a number from 1 to len(contributions) + 1; the last says that all of them together do not reach it.

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
    """`dependence` where contributions are known by size only: at most r_j, and r_j itself where each class holds
    contributions of one size. O(classes).

    sizes: (how many, their sum, the largest) of each class, large contributions first.

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
    """How many of the first k items stay in the list whatever so many actors do: r(e). O(k).

    counts: of all items, best first; missing ones count 0. unit: the most one actor adds to an item, budget: to all.

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
    """Price of each place in the list of what is shown beside an item (see `affinity`), as `margins` tells it of a
    board: so many new actors, so much trust, for whichever item outside is nearest.

    A link is shown only from `min_actors` actors and a count of `least` on, and an actor adds at most one act's
    weight to it. So an item (count c, n actors behind it) takes the place of a count S with m new actors exactly if
    c + m fresh > S, c + m fresh >= least and n + m >= min_actors. m* is the least such m of all items outside, and as
    many simultaneous acts do it; where that would leave the two with equal counts m* is one less, for ties go to the
    smaller key, which may be either's. The trust asks for the weight alone.

    outside: (count, actors) of every link of the item that is not listed; one never made counts as (0, 0).

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
    """New actors needed for one more item to be shown, in a list that has room; see `link_margins`.

    >>> entry_margin([(80, 1)], fresh=5, least=100, min_actors=3), entry_margin([], 5, 100, 3)
    (4, 20)
    """
    return min(_fewest(each, least, fresh, min_actors) for each in _frontier(outside))


def _fewest(link: tuple[int, int], to_reach: int, fresh: int, min_actors: int) -> int:
    """New actors that bring a link to a count and to enough actors behind it."""
    count, n_actors = link
    return max(1, -((count - to_reach) // fresh), min_actors - n_actors)


def _frontier(outside: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Links that none has more of both than; largest counts first."""
    kept: list[tuple[int, int]] = []
    for count, n_actors in sorted([*outside, (0, 0)], reverse=True):
        if not kept or n_actors > kept[-1][1]:
            kept.append((count, n_actors))
    return kept
