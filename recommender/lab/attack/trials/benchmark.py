"""Run every chosen attack at every budget against every chosen defence.

    TrialSite ──> starts ──> for each: attacks x budgets x variants ──follow──> one record a run

Each run is repeated from several start times. Budgets come in two units:

    price   new accounts that reach the last place of the undefended list; the same number for every defence
    margin  m* of the defence itself; no set of fewer new accounts can succeed

Cold, mid and rival items take turns as targets. A record holds all that the report needs. The rest is not kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from recommender.lab.attack.catalogue.all_attacks import ATTACKS, LOOK_ALIKES, attack
from recommender.lab.attack.catalogue.attack_base import TARGET_CHOICES, Attack, Plan
from recommender.lab.attack.defences.defences import Defence, Product
from recommender.lab.attack.delivery.campaign import Campaign, Variant
from recommender.lab.attack.trials import pair_trials, run_metrics
from recommender.lab.attack.trials.single_run import SERVED, Trace, TrialSite, WarmStates, follow

TAIL_S = 120  # after an attack's last act
STOLEN = frozenset({"A9", "A14"})  # their accounts have a history and may weigh up to 1
SINGLE = frozenset({"A1"})  # uses one account at any budget
MAX_ACTORS = 30_000
WEIGHTED = ("trust", "full")  # their margin has other units than the undefended price
CROWD = (4.0, 16.0)  # sizes of the look-alikes, in prices


@dataclass(frozen=True, slots=True)
class Choice:
    """Attacks, defences and budgets to run.

    prices, margins: multiples of the two units.
    adaptive_prices, adaptive_margins: the same for attackers who watch the list or the scores.
    """

    attacks: tuple[str, ...] = tuple(ATTACKS)
    look_alikes: tuple[str, ...] = tuple(LOOK_ALIKES)
    defences: tuple[str, ...] = ("none", "forest", "caps", "trust", "full", "oracle")
    prices: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    margins: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    variants: tuple[Variant, ...] = ("plain", "black-box", "white-box")
    adaptive_prices: tuple[float, ...] = (2.0,)
    adaptive_margins: tuple[float, ...] = (0.9,)
    pairs: tuple[str, ...] = pair_trials.DEFENCES  # defences for the attacks on places next to an item
    seeds: int = 3
    seed: int = 1


@dataclass(frozen=True, slots=True)
class _Run:
    code: str
    variant: Variant
    unit: str
    multiple: float


@dataclass(slots=True)
class _Ready:
    """A run with its campaign, against one defence."""

    run: _Run
    choice: Attack
    plan: Plan
    campaign: Campaign
    price: int
    margin: int

    @property
    def seconds(self) -> int:
        return int(self.campaign.time_s) + TAIL_S + 1

    def again(self) -> Campaign:
        """Return the same campaign from its beginning."""
        return Campaign(self.plan, self.run.variant)


def run(site: TrialSite, choice: Choice, warm: WarmStates, starts_ms: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield all records, start by start. `warm` may have been folded already."""
    for number, start_ms in enumerate(starts_ms):
        for name in choice.defences:
            yield from against(name, site, choice, warm, (number, start_ms))


def against(
    name: str, site: TrialSite, choice: Choice, warm: WarmStates, start: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Yield the records of one defence at one start (its number, and its time in ms).

    They do not depend on any other defence or start.
    """
    number, start_ms = start
    folded = "none" if name == "oracle" else name
    state, bare = warm.state(folded, start_ms), warm.state("none", start_ms)
    world = site.world(start_ms, state.top(20)[0])
    ready = []
    for each in _runs(choice, name):
        parameters: dict[str, Any] = {}
        if attack(each.code).GOAL == "promote":
            parameters["target"] = TARGET_CHOICES[number % len(TARGET_CHOICES)]
        if each.variant == "white-box":
            parameters["browse"] = 1.0
        chosen = attack(each.code).for_bench(**parameters)
        probe = chosen.plan(world, n_actors=1, seed=choice.seed + number)
        target = probe.targets[0]
        price, margin = _price(bare, target), _price(state, target)
        n = round(each.multiple * (price if each.unit == "price" else margin))
        if chosen.GOAL in ("demote", "disturb"):  # these attacks have no place to buy
            n = round(each.multiple * (_price(bare, "") if each.unit == "price" else _price(state, "")))
        n = min(MAX_ACTORS, max(1, n))
        plan = chosen.plan(world, n_actors=n, seed=choice.seed + number, targets=probe.targets)
        ready.append(_Ready(each, chosen, plan, Campaign(plan, each.variant, seed=number), price, margin))
    if not ready:
        return
    watch = sorted({target for each in ready for target in each.plan.targets})
    clean = follow(state, site, start_ms, max(each.seconds for each in ready), watch=watch)
    for one in ready:
        attacked = clean
        if name != "oracle" or one.plan.goal == "benign":
            attacked = follow(warm.state(folded, start_ms), site, start_ms, one.seconds, campaign=one.campaign)
        beside = {}
        if one.plan.goal == "benign":
            for other in _yardsticks(name, choice):
                beside[other] = follow(warm.state(other, start_ms), site, start_ms, one.seconds, campaign=one.again())
        yield {
            "site": site.name,
            "defence": name,
            "attack": one.run.code,
            "variant": one.run.variant,
            "goal": one.plan.goal,
            "target": one.choice.target,
            "unit": one.run.unit,
            "multiple": one.run.multiple,
            "start": number,
            "start_s": start_ms / 1000,
            "accounts": one.plan.n_actors,
            "events": len(one.plan.rows),
            "price": one.price,
            "margin": one.margin,
        } | _outcome(name, one, attacked, clean, beside)


def _yardsticks(name: str, choice: Choice) -> list[str]:
    """Name the lists to compare an honest crowd's delay with.

    They are the list without any defence, and the list without the screen.
    """
    if name in ("none", "oracle"):
        return []
    return ["none", "trust"] if name == "full" and "trust" in choice.defences else ["none"]


def _outcome(name: str, one: _Ready, attacked: Trace, clean: Trace, beside: dict[str, Trace]) -> dict[str, Any]:
    bounded = name not in ("none", "forest", "oracle")
    weight = (1.0 if one.run.code in STOLEN else clean.fresh_weight) if bounded else None
    target = one.plan.targets[0]
    found = run_metrics.compare(attacked, clean, targets=one.plan.targets, goal=one.plan.goal, account_weight=weight)
    n = one.seconds
    scores = [max(at_once) for at_once in zip(*(clean.scores[each][:n] for each in one.plan.targets), strict=True)]
    gaps = [last - score for last, score in zip(clean.last[:n], scores, strict=True)]
    least = run_metrics.price(min(gaps, default=0.0), 0.0, weight or 1.0)
    found["margin_least"] = least
    found["is_below_margin"] = bounded and one.plan.goal == "promote" and one.plan.n_actors < least
    for other, trace in beside.items():
        key = "delay_s" if other == "none" else "delay_by_screen_s"
        found[key] = run_metrics.delays(attacked, trace, target)
    return found


def _runs(choice: Choice, name: str) -> list[_Run]:
    """List the runs against a defence.

    Units that mean nothing for this defence are left out. So are variants that would repeat a run.
    """
    runs = []
    has_margin = name in ("caps", "trust", "full")
    for code in choice.attacks:
        runs += [_Run(code, "plain", "price", multiple) for multiple in choice.prices if "plain" in choice.variants]
        if name in WEIGHTED and "plain" in choice.variants and code not in SINGLE:
            runs += [_Run(code, "plain", "margin", multiple) for multiple in choice.margins]
        for variant in choice.variants:
            if variant == "plain" or not has_margin or attack(code).GOAL != "promote":
                continue
            runs += [_Run(code, variant, "price", multiple) for multiple in choice.adaptive_prices]
            if name in WEIGHTED and code not in SINGLE:
                runs += [_Run(code, variant, "margin", multiple) for multiple in choice.adaptive_margins]
    for code in choice.look_alikes:
        runs += [_Run(code, "plain", "price", multiple) for multiple in CROWD]
    return runs


def _price(defence: Defence, target: str) -> int:
    scores = defence.top(SERVED)[1]
    last = float(scores[-1]) if len(scores) == SERVED else 0.0
    weight = defence.fresh_weight() if isinstance(defence, Product) else 1.0
    return run_metrics.price(last, defence.score(target) if target else 0.0, weight)
