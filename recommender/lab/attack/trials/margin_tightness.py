"""Measure how tight the margin is: the fewest new accounts found to take a place.

    a state, m* ──search──> n accounts strike one item within a second ──follow──> in the served list for a minute?

No attack can succeed with fewer than m* accounts. This search finds the number that one attack, made for the purpose,
needs. In one second each account acts once, since nothing cheaper is known against a decayed count. To stay for a
minute takes a little more than to enter, because the strike fades. Against a screen, the accounts (a) strike and
leave, or (b) read one more item each, as honest readers do.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import Accounts
from recommender.lab.attack.catalogue.attack_base import Attack
from recommender.lab.attack.catalogue.known_site import World
from recommender.lab.attack.delivery.campaign import Campaign
from recommender.lab.attack.trials import run_metrics
from recommender.lab.attack.trials.single_run import TrialSite, WarmStates, follow

BOUNDED = ("caps", "trust", "full")
SECONDS = 220  # a hold of one or two minutes, and a minute in the list
MOST = 8.0  # the largest budget tried, in margins
PRECISION = 0.02


@dataclass(frozen=True, slots=True)
class Tightness:
    """Result of one search.

    margin: m* when the strike begins.
    needed: the smallest budget found that works, None if no budget up to MOST margins does.
    tried: runs of the search.
    """

    defence: str
    start: int
    how: str
    margin: int
    needed: int | None
    tried: int

    @property
    def ratio(self) -> float | None:
        """Return needed / m*. A bound cannot be tighter than 1."""
        return None if self.needed is None else self.needed / self.margin


@dataclass(frozen=True, kw_only=True)
class Strike(Attack):
    """New accounts in households everywhere act once each, all in the same second."""

    CODE: ClassVar[str] = "strike"
    TITLE: ClassVar[str] = "all at once"

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        return accounts.act(np.arange(n), world.now_s + 0.9 * rng.random(n), targets[0])


def measure(
    name: str, site: TrialSite, warm: WarmStates, start: tuple[int, int], *, seed: int
) -> list[dict[str, Any]]:
    """Search for one defence at one start (number, ms), in values that JSON takes.

    The full defence is searched in both ways.
    """
    number, start_ms = start
    ways = {"strike": 0.0} | ({"strike, then read on": 1.0} if name == "full" else {})
    found = [_search(name, site, warm, (number, start_ms), how, browse, seed) for how, browse in ways.items()]
    return [asdict(each) | {"ratio": each.ratio} for each in found]


def _search(
    name: str, site: TrialSite, warm: WarmStates, start: tuple[int, int], how: str, browse: float, seed: int
) -> Tightness:
    number, start_ms = start
    state = warm.state(name, start_ms)
    world = site.world(start_ms, state.top(20)[0])
    strike = Strike(target="cold", browse=browse)
    targets = strike.plan(world, n_actors=1, seed=seed + number).targets
    clean = follow(state, site, start_ms, SECONDS, watch=targets)
    gap = clean.last[0] - clean.scores[targets[0]][0]
    margin = run_metrics.price(gap, 0.0, clean.fresh_weight)
    tried: dict[int, bool] = {}

    def works(n: int) -> bool:
        if n not in tried:
            plan = strike.plan(world, n_actors=n, seed=seed + number, targets=targets)
            attacked = follow(warm.state(name, start_ms), site, start_ms, SECONDS, campaign=Campaign(plan))
            found = run_metrics.compare(attacked, clean, targets=targets, goal="promote", account_weight=None)
            tried[n] = bool(found["success"])
        return tried[n]

    return Tightness(name, number, how, margin, smallest(works, margin), len(tried))


def smallest(works: Callable[[int], bool], margin: int) -> int | None:
    """Find the smallest n for which `works(n)`, to PRECISION.

    The search goes up from the margin by half each time. Then it halves the gap between the last n that failed and
    the first that worked. It returns None if nothing up to MOST margins works.

    >>> smallest(lambda n: n >= 130, 100)  # to two accounts, 0.02 of the margin
    131
    """
    low, high = max(0, margin - 1), margin
    while not works(high):
        low, high = high, max(high + 1, round(1.5 * high))
        if high > MOST * margin + 1:
            return None
    while high - low > max(1, PRECISION * margin):
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
