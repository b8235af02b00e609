"""How tight the margin is: the smallest number of new accounts that is found to take a place, beside m*.

    a state, m* ──search──> n accounts strike one item within a second ──follow──> in the served list for a minute?

m* is what no attack can do without; this is what one attack, made for the purpose, needs. In one second, each
account one act: nothing cheaper is known against a decayed count. To stay a minute asks for a little more than to
enter, since the strike fades. Against a screen the accounts strike (a) and leave, (b) read one more item each, as
honest readers do.
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
from recommender.lab.attack.trials.single_run import Site, WarmStates, follow

BOUNDED = ("caps", "trust", "full")
SECONDS = 220  # a hold of a minute or two, and a minute in the list
MOST = 8.0  # margins, at most, that are tried
PRECISION = 0.02


@dataclass(frozen=True, slots=True)
class Tightness:
    """margin: m* as the strike begins; needed: the smallest budget found that works, None where none up to MOST
    margins does; tried: runs of the search."""

    defence: str
    start: int
    how: str
    margin: int
    needed: int | None
    tried: int

    @property
    def ratio(self) -> float | None:
        """needed / m*; 1 is as tight as a bound can be."""
        return None if self.needed is None else self.needed / self.margin


@dataclass(frozen=True, kw_only=True)
class Strike(Attack):
    """New accounts of households everywhere, one act each, all in the same second."""

    CODE: ClassVar[str] = "strike"
    TITLE: ClassVar[str] = "all at once"

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        return accounts.act(np.arange(n), world.now_s + 0.9 * rng.random(n), targets[0])


def measure(name: str, site: Site, warm: WarmStates, start: tuple[int, int], *, seed: int) -> list[dict[str, Any]]:
    """One defence at one start (number, ms), as JSON; both ways for the full one."""
    number, start_ms = start
    ways = {"strike": 0.0} | ({"strike, then read on": 1.0} if name == "full" else {})
    found = [_search(name, site, warm, (number, start_ms), how, browse, seed) for how, browse in ways.items()]
    return [asdict(each) | {"ratio": each.ratio} for each in found]


def _search(
    name: str, site: Site, warm: WarmStates, start: tuple[int, int], how: str, browse: float, seed: int
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
    """The smallest n found for which `works(n)`, to PRECISION: from the margin upwards by halves, then between the
    last that failed and the first that worked. None where nothing up to MOST margins does.

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
