"""Attacks by number: floods, disposable ids, botnets, Sybils, drips, bursts that vanish, click farms."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import Accounts, human_gaps
from recommender.lab.attack.catalogue.attack_base import Attack
from recommender.lab.attack.catalogue.known_site import World


@dataclass(frozen=True, kw_only=True)
class Flood(Attack):
    """One account, a constant beat, no camouflage. Of a budget of n accounts it uses one, and clicks a hundred times
    for each, so that an undefended counter is beaten as by n."""

    CODE: ClassVar[str] = "A1"
    TITLE: ClassVar[str] = "one account floods"
    clicks_per_account: int = 100
    max_clicks: int = 20_000

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        account = Accounts.fresh(world, rng, 1, "host").marked(referrer=None)
        n_clicks = min(self.max_clicks, n * self.clicks_per_account)
        at_s = world.now_s + np.linspace(0, self.duration_s, n_clicks, endpoint=False)
        return account.act(np.zeros(n_clicks, np.int64), at_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class CookieLoop(Attack):
    """One host that forgets its cookie after every click: ids of age zero, one act each, one address."""

    CODE: ClassVar[str] = "A2"
    TITLE: ClassVar[str] = "one host, a new id a click"

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n, "host").marked(referrer=None)
        at_s = world.now_s + np.linspace(0, self.duration_s, n, endpoint=False)
        return accounts.act(np.arange(n), at_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class Botnet(Attack):
    """Rented servers: few networks, few user agents, several clicks an account, nearly uniform gaps."""

    CODE: ClassVar[str] = "A3"
    TITLE: ClassVar[str] = "small botnet"
    clicks: int = 5
    target_share: float = 0.6
    duration_s: float = 600.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 120.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n, "datacentre")
        who = np.repeat(np.arange(n), self.clicks)
        beat_s = self.duration_s / self.clicks
        nth = np.tile(np.arange(self.clicks), n)
        at_s = world.now_s + (nth + np.repeat(rng.random(n), self.clicks)) * beat_s + rng.random(len(who))
        is_target = (rng.random(len(who)) < self.target_share) | (nth == 0)
        items = np.where(is_target, targets[0], world.draw_popular(rng, len(who))).tolist()
        return accounts.act(who, at_s, items)


@dataclass(frozen=True, kw_only=True)
class Sybil(Attack):
    """Accounts in households all over, one to three clicks each at human pauses, camouflaged on popular items."""

    CODE: ClassVar[str] = "A4"
    TITLE: ClassVar[str] = "large Sybil, human-like"
    camouflage: float = 0.5
    duration_s: float = 86_400.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 240.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        at_s = world.now_s + rng.random(n) * self.duration_s
        first = accounts.act(np.arange(n), at_s, targets[0])
        again = np.flatnonzero(rng.random(n) < 0.3)  # read on
        later_s = at_s[again] + human_gaps(rng, len(again), median_s=60.0)
        return pl.concat([first, accounts.act(again, later_s, world.draw_popular(rng, len(again)))])


@dataclass(frozen=True, kw_only=True)
class Drip(Attack):
    """Each account clicks once, some time in three days: nothing to see in any short window."""

    CODE: ClassVar[str] = "A7"
    TITLE: ClassVar[str] = "low and slow"
    duration_s: float = 3 * 86_400.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 1800.0}  # what a half-life of minutes leaves of days

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        return accounts.act(np.arange(n), world.now_s + np.sort(rng.random(n)) * self.duration_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class Ephemeral(Attack):
    """Everybody at once within 20 to 70 s, taken back 30 to 110 s later, and the same accounts again for the next
    item: the recorded pattern of bought Twitter trends."""

    CODE: ClassVar[str] = "A12"
    TITLE: ClassVar[str] = "burst, then deletion"
    N_TARGETS: ClassVar[int] = 3
    pause_s: float = 86_400.0  # from one item to the next
    BENCH: ClassVar[dict[str, Any]] = {"pause_s": 240.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        parts = []
        for number, target in enumerate(targets):
            start_s = world.now_s + number * self.pause_s
            who = np.flatnonzero(rng.random(n) < 0.96) if number else np.arange(n)  # recorded: 96 % come again
            at_s = start_s + rng.random(len(who)) * rng.uniform(20, 70)
            parts += [
                accounts.act(who, at_s, target),
                accounts.act(who, start_s + 70 + rng.uniform(30, 110) + rng.random(len(who)) * 20, target, "undo"),
            ]
        return pl.concat(parts)


@dataclass(frozen=True, kw_only=True)
class Farm(Attack):
    """Racks of one model of phone behind one to three networks, working a shift at a steady pace."""

    CODE: ClassVar[str] = "A13"
    TITLE: ClassVar[str] = "click farm"
    duration_s: float = 8 * 3600.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 180.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n, "farm")
        at_s = world.now_s + np.arange(n) / n * self.duration_s + rng.random(n)
        first = accounts.act(np.arange(n), at_s, targets[0])
        filler = accounts.act(np.arange(n), at_s + 5 + 10 * rng.random(n), world.draw_popular(rng, n))
        return pl.concat([first, filler])
