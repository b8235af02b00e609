"""The certificate: what it would cost to push something into a list. Needs no learner, so web processes use it too.

Counts are capped: a set A of colluding actors adds at most the sum of its weights, W(A), to any one item, and cannot
lower another. So the best item outside the list takes the place of a listed item j only if

    W(A) > S_j - S_out ,    and with fresh actors of weight w:   m* = floor((S_j - S_out) / w) + 1

are needed, and m* simultaneous acts do it: the bound is exact (ties keep the incumbent).
"""

from collections.abc import Sequence


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
