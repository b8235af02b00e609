"""Attacks A5 and A6 on the items next to a popular item, and on readers' lists.

    TrialSite, start ──> anchors X, targets T ──> budgets in accounts and in margins ──follow──> one record a run

An attack succeeds if T is one of the first SERVED items next to X for a minute or more, and would not be there
without the attack. A record also counts the readers who opened X during the run, and those of them who would have
been shown T in their first SERVED recommendations.

The margin is that of `Affinity.neighbours` in the clean run, second by second. No set of fewer new accounts can
succeed. A second in which one does is a violation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.pipeline import Pipeline
from recommender.lab.attack.catalogue.attack_base import Plan
from recommender.lab.attack.catalogue.attacks_by_disguise import Coattails, CoVisit
from recommender.lab.attack.defences.defences import Defence, Product
from recommender.lab.attack.defences.raw_links import RawLinks
from recommender.lab.attack.delivery.campaign import Campaign
from recommender.lab.attack.trials.event_fates import READERS
from recommender.lab.attack.trials.run_metrics import SUCCESS_S, TOLERANCE
from recommender.lab.attack.trials.single_run import SERVED, Trace, TrialSite, WarmStates, follow

DEFENCES = ("links", "caps", "trust", "full")
FIRST = 5
PLACES = (SERVED, FIRST)
BUDGETS = (10, 30, 100, 300)
MARGINS = (0.5, 0.9, 1.5, 3.0)
MAX_ACTORS = 5_000
ANCHORS = {"hot": 0, "mid": 20}  # places among the items with the most acts in the last hour
TAIL_S = 75  # after the last act
ATTACKS: dict[str, CoVisit | Coattails] = {
    "A5 within a minute": CoVisit(anchor_kind="click", duration_s=60.0),
    "A5 all at once": CoVisit(anchor_kind="click", duration_s=1.0),
    "A6 within a minute": Coattails(duration_s=60.0),
}


@dataclass(slots=True)
class PairSight:
    """An anchor second by second.

    `beside`: the first SERVED items next to the anchor.
    prices: if asked for, the price of the cheapest target, by PLACES.
    n_readers, n_shown: readers who opened the anchor, and those of them who were shown a target.
    """

    anchor: str
    key: np.uint64
    targets: tuple[str, ...]
    is_priced: bool = False
    beside: list[list[str]] = field(default_factory=list)
    prices: list[tuple[int, ...]] = field(default_factory=list)
    n_readers: int = 0
    n_shown: int = 0

    def look(self, defence: Defence, step: EventBatch, group: NDArray[np.int8]) -> None:
        if not isinstance(defence, Product | RawLinks):
            raise TypeError("this defence does not count links between items")
        self.beside.append(defence.beside(self.anchor, SERVED))
        if self.is_priced:
            prices = [[defence.price_beside(self.anchor, place, each) for each in self.targets] for place in PLACES]
            self.prices.append(tuple(map(min, prices)))
        for row in np.flatnonzero((step.item == self.key) & (group == READERS)).tolist():
            shown = defence.recommended(int(step.actor[row]), self.anchor, SERVED)
            self.n_readers += 1
            self.n_shown += any(target in shown for target in self.targets)


def against(
    name: str, site: TrialSite, warm: WarmStates, start: tuple[int, int], *, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the records of one defence at one start (its number, and its time in ms)."""
    number, start_ms = start
    world = site.world(start_ms, warm.state(name, start_ms).top(20)[0])
    encoder = Pipeline(site.config).encoder
    for title, attack in ATTACKS.items():
        for sort, place in ANCHORS.items():
            if place >= len(world.popular):
                continue
            anchor = world.popular[place]
            chosen = replace(attack, anchor=anchor)
            probe = chosen.plan(world, n_actors=1, seed=seed + number)
            state = warm.state(name, start_ms)
            if not isinstance(state, Product | RawLinks):
                raise TypeError(f"the defence {name} does not count links between items")
            margin = min(state.price_beside(anchor, SERVED, target) for target in probe.targets)
            budgets = [("accounts", float(n), n) for n in BUDGETS]
            if name != "links":
                budgets += [("margin", multiple, max(1, round(multiple * margin))) for multiple in MARGINS]
            plans = []
            for unit, multiple, n in budgets:
                n_actors, of_start = min(n, MAX_ACTORS), seed + number
                plan = chosen.plan(world, n_actors=n_actors, seed=of_start, targets=probe.targets)
                plans.append((unit, multiple, plan))
            seconds = [_seconds(plan, start_ms) for _, _, plan in plans]
            key = np.uint64(encoder.key(anchor))
            clean = PairSight(anchor, key, probe.targets, is_priced=True)
            follow(state, site, start_ms, max(seconds), on_second=clean.look)
            for (unit, multiple, plan), n_seconds in zip(plans, seconds, strict=True):
                seen, campaign = PairSight(anchor, key, plan.targets), Campaign(plan)
                state = warm.state(name, start_ms)
                trace = follow(state, site, start_ms, n_seconds, campaign=campaign, on_second=seen.look)
                yield {
                    "site": site.name,
                    "defence": name,
                    "attack": title,
                    "anchor": sort,
                    "unit": unit,
                    "multiple": multiple,
                    "start": number,
                    "accounts": plan.n_actors,
                    "margin": margin,
                } | compare(seen, clean, trace, is_bounded=name != "links")


def compare(seen: PairSight, clean: PairSight, trace: Trace, *, is_bounded: bool) -> dict[str, Any]:
    """Compare one run with its clean twin."""
    found: dict[str, Any] = {"readers": seen.n_readers, "shown": seen.n_shown}
    n = len(seen.beside)
    accounts = np.array(trace.n_accounts[:n])
    violations = 0
    for number, place in enumerate(PLACES):
        is_false = np.zeros(n, bool)
        for target in seen.targets:
            is_in = np.array([target in each[:place] for each in seen.beside], bool)
            is_false |= is_in & ~np.array([target in each[:place] for each in clean.beside[:n]], bool)
        price = np.array([each[number] for each in clean.prices[:n]])
        found |= {f"success{place}": int(is_false.sum()) >= SUCCESS_S, f"false_s{place}": int(is_false.sum())}
        violations += int((is_false & (accounts < price * (1 - TOLERANCE))).sum())
        if place == SERVED:
            found["margin_least"] = int(price.min(initial=price[0] if n else 1))
            found["is_below_margin"] = is_bounded and int(accounts.max(initial=0)) < found["margin_least"]
    found["violations"] = violations if is_bounded else None
    return found


def _seconds(plan: Plan, start_ms: int) -> int:
    return int(plan.end_s - start_ms / 1000) + TAIL_S + 1
