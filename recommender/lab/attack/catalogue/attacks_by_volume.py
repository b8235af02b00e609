"""Attacks by sheer number of clicks or of accounts."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import Accounts, human_gaps
from recommender.lab.attack.catalogue.attack_base import Attack
from recommender.lab.attack.catalogue.known_site import World


@dataclass(frozen=True, kw_only=True)
class Flood(Attack):
    """One account clicks at a constant pace, without camouflage.

    From a budget of n accounts it uses one. It clicks a hundred times for each of the n, so it beats an undefended
    counter as n accounts would.
    """

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
    """One host forgets its cookie after every click, so each click has a new id.

    All clicks come from one address.
    """

    CODE: ClassVar[str] = "A2"
    TITLE: ClassVar[str] = "one host, a new id for every click"

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n, "host").marked(referrer=None)
        at_s = world.now_s + np.linspace(0, self.duration_s, n, endpoint=False)
        return accounts.act(np.arange(n), at_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class Botnet(Attack):
    """Rented servers send several clicks per account at nearly even intervals.

    They have few networks and few user agents.
    """

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
    """New accounts in households everywhere click the target once, at human pauses.

    Three in ten read on. Half of all their clicks are camouflage on popular items.
    """

    CODE: ClassVar[str] = "A4"
    TITLE: ClassVar[str] = "Sybil accounts that act like people"
    camouflage: float = 0.5
    duration_s: float = 86_400.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 240.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        at_s = world.now_s + rng.random(n) * self.duration_s
        first = accounts.act(np.arange(n), at_s, targets[0])
        again = np.flatnonzero(rng.random(n) < 0.3)  # these accounts read on
        later_s = at_s[again] + human_gaps(rng, len(again), median_s=60.0)
        return pl.concat([first, accounts.act(again, later_s, world.draw_popular(rng, len(again)))])


@dataclass(frozen=True, kw_only=True)
class Drip(Attack):
    """Each account clicks once at some time in three days.

    No short window shows the attack.
    """

    CODE: ClassVar[str] = "A7"
    TITLE: ClassVar[str] = "low and slow"
    duration_s: float = 3 * 86_400.0
    # with a half-life of minutes, only the last minutes of three days count
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 1800.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        return accounts.act(np.arange(n), world.now_s + np.sort(rng.random(n)) * self.duration_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class Ephemeral(Attack):
    """A burst of clicks is taken back, then the same accounts push the next item.

    All click within 20 to 70 s, and take it back 30 to 110 s after the burst. This is the recorded pattern of bought
    Twitter trends.
    """

    CODE: ClassVar[str] = "A12"
    TITLE: ClassVar[str] = "burst of clicks, then undone"
    N_TARGETS: ClassVar[int] = 3
    pause_s: float = 86_400.0  # from one item to the next
    BENCH: ClassVar[dict[str, Any]] = {"pause_s": 240.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        parts = []
        for number, target in enumerate(targets):
            start_s = world.now_s + number * self.pause_s
            # recorded: 96 % of the accounts come again
            who = np.flatnonzero(rng.random(n) < 0.96) if number else np.arange(n)
            at_s = start_s + rng.random(len(who)) * rng.uniform(20, 70)
            parts += [
                accounts.act(who, at_s, target),
                accounts.act(who, start_s + 70 + rng.uniform(30, 110) + rng.random(len(who)) * 20, target, "undo"),
            ]
        return pl.concat(parts)


@dataclass(frozen=True, kw_only=True)
class Farm(Attack):
    """Racks of one phone model behind one to three networks click at a steady pace."""

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
