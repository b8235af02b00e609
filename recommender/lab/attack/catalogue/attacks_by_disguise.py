"""Attacks that disguise themselves as readers, or use real readers' accounts."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import Accounts, human_gaps
from recommender.lab.attack.catalogue.attack_base import Attack, Goal
from recommender.lab.attack.catalogue.known_site import World


@dataclass(frozen=True, kw_only=True)
class CoVisit(Attack):
    """Each account views a popular item, the anchor, then clicks the target.

    The click follows a few seconds later. anchor: by default the first item of the list. anchor_kind: kind of the
    event on the anchor.
    """

    CODE: ClassVar[str] = "A5"
    TITLE: ClassVar[str] = "co-visitation injection"
    anchor: str = ""
    anchor_kind: str = "view"
    duration_s: float = 600.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 180.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        anchor = self.anchor or (world.board[0] if world.board else world.draw_popular(rng, 1)[0])
        at_s = world.now_s + rng.random(n) * self.duration_s
        who = np.arange(n)
        return pl.concat(
            [
                accounts.act(who, at_s, anchor, self.anchor_kind),
                accounts.act(who, at_s + 2 + 3 * rng.random(n), targets[0]),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Coattails(Attack):
    """Each account clicks two of the hottest items, then the three targets many times.

    anchor: the only hot item, if one is named.
    """

    CODE: ClassVar[str] = "A6"
    TITLE: ClassVar[str] = "riding on popular items"
    N_TARGETS: ClassVar[int] = 3
    anchor: str = ""
    target_clicks: int = 6
    duration_s: float = 1800.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 180.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        hot = [self.anchor] if self.anchor else world.board[:5] or world.draw_popular(rng, 5)
        start_s = world.now_s + np.repeat(rng.random(n), 2 + self.target_clicks) * self.duration_s * 0.6
        who = np.repeat(np.arange(n), 2 + self.target_clicks)
        nth = np.tile(np.arange(2 + self.target_clicks), n)
        hottest, pushed = rng.choice(hot, len(who)), rng.choice(targets, len(who))
        items = np.where(nth < 2, hottest, pushed).tolist()
        at_s = start_s + nth * np.minimum(human_gaps(rng, len(who), median_s=8.0), 0.05 * self.duration_s)
        return accounts.act(who, at_s, items)


@dataclass(frozen=True, kw_only=True)
class BoilingFrog(Attack):
    """Waves of clicks, each stronger than the last, to which the filter gets used."""

    CODE: ClassVar[str] = "A8"
    TITLE: ClassVar[str] = "boiling frog: growing waves"
    waves: int = 12
    growth: float = 1.35
    camouflage: float = 0.3
    duration_s: float = 12 * 86_400.0  # one wave per refit of the filter
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 1500.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        strength = np.cumsum(self.growth ** np.arange(self.waves))
        wave = np.searchsorted(strength / strength[-1], (np.arange(n) + 0.5) / n)
        at_s = world.now_s + (wave + rng.random(n) * 0.3) * self.duration_s / self.waves
        return accounts.act(np.arange(n), at_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class TakeOver(Attack):
    """Stolen accounts with a history act once each within a minute.

    They act from other devices in other places.
    """

    CODE: ClassVar[str] = "A9"
    TITLE: ClassVar[str] = "hijacked aged accounts"

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.aged(world, rng, n, is_own_device=False)
        at_s = world.now_s + rng.random(len(accounts)) * self.duration_s
        return accounts.act(np.arange(len(accounts)), at_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class Framing(Attack):
    """The attacker makes a rival look guilty, to have it removed from the list.

    "bots" clicks the rival as crudely as possible. "undo" takes back clicks that were never made. "lift" pushes the
    items just below the rival, all at once.
    """

    CODE: ClassVar[str] = "A10"
    TITLE: ClassVar[str] = "framing a rival"
    GOAL: ClassVar[Goal] = "demote"
    target: Literal["cold", "mid", "rival"] = "rival"
    method: Literal["bots", "undo", "lift"] = "bots"
    clicks: int = 10

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n, "host").marked(referrer=None)
        who = np.repeat(np.arange(n), self.clicks if self.method == "bots" else 1)
        at_s = world.now_s + np.linspace(0, self.duration_s, len(who), endpoint=False)
        if self.method == "lift":
            below = [item for item in world.popular[:40] if item not in world.board[:10]][:10] or [*targets]
            return accounts.act(who, at_s, rng.choice(below, len(who)).tolist())
        return accounts.act(rng.permutation(who), at_s, targets[0], "click" if self.method == "bots" else "undo")


@dataclass(frozen=True, kw_only=True)
class SessionReplay(Attack):
    """New accounts replay captured visits of real readers, with the target added.

    The pauses between the acts are changed.
    """

    CODE: ClassVar[str] = "A11"
    TITLE: ClassVar[str] = "replayed real sessions"
    duration_s: float = 600.0
    jitter: float = 0.2
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 240.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        captured = world.sessions or [[(20.0 * i, item) for i, item in enumerate(world.draw_popular(rng, 4))]]
        who, at_s, items = [], [], []
        for number in range(n):
            visit = captured[int(rng.integers(len(captured)))][:8]
            slot = int(rng.integers(1, len(visit) + 1))
            visit = [*visit[:slot], (visit[slot - 1][0] + float(human_gaps(rng, 1)[0]), targets[0]), *visit[slot:]]
            stretch = rng.lognormal(0, self.jitter, len(visit))
            length_s = max(1.0, visit[-1][0])
            squeeze = min(1.0, 0.5 * self.duration_s / length_s)  # visits of half an hour do not fit a short attack
            start_s = world.now_s + rng.random() * self.duration_s * 0.5
            who += [number] * len(visit)
            at_s += [start_s + at * squeeze * by for (at, _), by in zip(visit, stretch, strict=True)]
            items += [item for _, item in visit]
        return accounts.act(np.array(who), np.array(at_s), items)


@dataclass(frozen=True, kw_only=True)
class Crowdturf(Attack):
    """People hired on a task board click the target from their own accounts.

    The accounts and devices are real. Most people leave at once, and 15 % open one more item.
    """

    CODE: ClassVar[str] = "A14"
    TITLE: ClassVar[str] = "paid humans"
    duration_s: float = 3600.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 240.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        people = Accounts.aged(world, rng, n, is_own_device=True).marked(referrer="https://tasks.example/")
        n = len(people)
        at_s = world.now_s + np.minimum(rng.exponential(self.duration_s / 3, n), self.duration_s)
        stays = np.flatnonzero(rng.random(n) < 0.15)
        later = people.act(stays, at_s[stays] + human_gaps(rng, len(stays)), world.draw_popular(rng, len(stays)))
        return pl.concat([people.act(np.arange(n), at_s, targets[0]), later])
