"""Trust: what an actor's acts weigh, from what the actor has earned. Never from the age of an account.

    active days, different items ──> evidence (points) ──the next active day──> weight in [floor, 1]

A fresh actor weighs `floor`. It earns `per_day` for a day on which it acts at all and `per_item` for every item it
had not acted on before, up to `item_cap` a day. What it earns today counts from its next active day on, which begins
no sooner than `day_h` hours after this one began: so a thousand clicks in an hour are worth what ten are, and there
is no midnight to wait for. Full weight takes `full` points. After days without an act, what was earned halves every
`idle_half_life_days`.

**The bound.** On its k-th active day, whatever an actor sends, its weight is at most

    w(k) <= floor + (1 - floor) * min(1, (k - 1) * (per_day + item_cap) / full)

(`weight_bound`), and k active days take at least (k - 1) * day_h hours. With the defaults: the floor on the first
day, 0.24 on the second, full weight not before the sixth, 100 hours after the first. Whoever wants a thousand
accounts of weight 1 must run all of them for more than four days, and be seen doing it.

**What it costs the honest.** On the first million clicks of a news site's real log, two thirds of whose readers come
on one day only, the hit rate at 20 is 99.7 % of the unweighted one (0.7203 of 0.7224): a list is a ranking, and the
weights of fresh readers are low for all items alike.

Not counted, for want of proof: clicks that name a recommendation they were served under, until the recommendation is
signed; a reviewer's word, until there are reviews.
"""

from dataclasses import dataclass
from typing import NamedTuple

from recommender.core.vocabulary import HOUR_MS

WEIGHT_BITS = 14
WEIGHT_ONE = 1 << WEIGHT_BITS  # the weight 1.0
POINT = 1000  # of evidence


class TrustRules(NamedTuple):
    """What the kernels know of a TrustConfig. Weights in WEIGHT_ONE, evidence in POINTs, times in ms."""

    floor: int
    full: int
    per_day: int
    per_item: int
    item_cap: int
    day_ms: int
    idle_half_ms: int


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """floor: weight in (0, 1]; 1 switches trust off. Points: see the module. Raises ValueError for what cannot be."""

    floor: float = 0.05
    full: float = 10.0
    per_day: float = 1.0
    per_item: float = 0.1
    item_cap: float = 1.0
    day_h: float = 20.0
    idle_half_life_days: float = 30.0

    def __post_init__(self) -> None:
        if not WEIGHT_ONE * self.floor >= 1 or self.floor > 1:
            raise ValueError(f"the floor of trust must be from {1 / WEIGHT_ONE:.5f} to 1")
        if min(self.per_day, self.per_item, self.item_cap) < 0 or min(self.full, self.day_h) <= 0:
            raise ValueError("points of trust must not be negative; full weight and a day must be more than nothing")
        if self.idle_half_life_days <= 0 or self.full > 1e6:
            raise ValueError("the idle half-life must be more than nothing, full weight at most a million points")

    def rules(self) -> TrustRules:
        """The same as integers, for the kernels."""
        return TrustRules(
            floor=round(self.floor * WEIGHT_ONE),
            full=round(self.full * POINT),
            per_day=round(self.per_day * POINT),
            per_item=round(self.per_item * POINT),
            item_cap=round(self.item_cap * POINT),
            day_ms=round(self.day_h * HOUR_MS),
            idle_half_ms=round(self.idle_half_life_days * 24 * HOUR_MS),
        )

    def weight_bound(self, active_days: int) -> float:
        """The most an actor can weigh on its active day of that number, from 1.

        >>> [round(TrustConfig().weight_bound(day), 2) for day in (1, 2, 6)]
        [0.05, 0.24, 1.0]
        """
        earned = (active_days - 1) * (self.per_day + self.item_cap)
        return self.floor + (1 - self.floor) * min(1.0, earned / self.full)
