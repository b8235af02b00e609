"""Honest traffic that looks like an attack. Its rows have the label 0.

A defence that holds it back is wrong. Machines that declare themselves are an exception: they are honest, but must
not count as readers.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import Accounts, human_gaps
from recommender.lab.attack.catalogue.attack_base import Attack, Goal
from recommender.lab.attack.catalogue.known_site import World

CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
)
PREFETCHER = "Chrome Privacy Preserving Prefetch Proxy"
APP = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/22G86 Instagram 390.0.0"


def crowd_times(rng: np.random.Generator, n: int, *, ramp_s: float, power: float = 1.3) -> np.ndarray:
    """Draw the sorted times at which a crowd comes, in seconds from its start.

    They rise on a ramp and then fall by a power law.
    """
    rising = ramp_s * np.sqrt(rng.random(n))
    falling = ramp_s + 2 * ramp_s * ((1 - rng.random(n)) ** (-1 / power) - 1)
    return np.sort(np.where(rng.random(n) < 0.35, rising, np.minimum(falling, 20 * ramp_s)))


@dataclass(frozen=True, kw_only=True)
class FlashCrowd(Attack):
    """News breaks: a crowd comes within minutes, from everywhere, and reads on.

    Most of these readers are new to the site.
    """

    CODE: ClassVar[str] = "B1"
    TITLE: ClassVar[str] = "flash crowd"
    GOAL: ClassVar[Goal] = "benign"
    ramp_s: float = 60.0
    newcomers: float = 0.7

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        n_known = min(round(n * (1 - self.newcomers)), len(world.aged))
        new = Accounts.fresh(world, rng, n - n_known)
        known = Accounts.aged(world, rng, n_known, is_own_device=True)
        people = Accounts(pl.concat([new.frame, known.frame.select(new.frame.columns)]))
        at_s = world.now_s + rng.permutation(crowd_times(rng, n, ramp_s=self.ramp_s))
        more = rng.geometric(0.6, n) - 1
        who = np.repeat(np.arange(n), more)
        later_s = at_s[who] + human_gaps(rng, len(who)) * (1 + rng.integers(3, size=len(who)))
        return pl.concat(
            [people.act(np.arange(n), at_s, targets[0]), people.act(who, later_s, world.draw_popular(rng, len(who)))]
        )


@dataclass(frozen=True, kw_only=True)
class Influencer(Attack):
    """A link is posted: a crowd comes within seconds.

    It has one referrer, one app and one country. Most leave after one page.
    """

    CODE: ClassVar[str] = "B2"
    TITLE: ClassVar[str] = "influencer's link"
    GOAL: ClassVar[Goal] = "benign"
    bounce: float = 0.8

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        people = Accounts.fresh(world, rng, n).marked(
            referrer="https://social.example/p/1", user_agent=APP, country="ES"
        )
        at_s = world.now_s + np.minimum(rng.exponential(self.duration_s, n), 6 * self.duration_s)
        stays = np.flatnonzero(rng.random(n) >= self.bounce)
        later_s = at_s[stays] + human_gaps(rng, len(stays))
        return pl.concat(
            [
                people.act(np.arange(n), at_s, targets[0]),
                people.act(stays, later_s, world.draw_popular(rng, len(stays))),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Prefetch(Attack):
    """Browsers load pages that their owner may open next.

    These are views without a click, sent through the browser maker's proxy.
    """

    CODE: ClassVar[str] = "B3"
    TITLE: ClassVar[str] = "prefetching browsers"
    GOAL: ClassVar[Goal] = "benign"
    pages: int = 4

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:  # noqa: ARG002
        accounts = Accounts.fresh(world, rng, n).marked(user_agent=PREFETCHER)
        who = np.repeat(np.arange(n), self.pages)
        at_s = world.now_s + np.repeat(rng.random(n), self.pages) * self.duration_s + 0.2 * rng.random(len(who))
        return accounts.act(who, at_s, world.draw_popular(rng, len(who)), "view")


@dataclass(frozen=True, kw_only=True)
class Campus(Attack):
    """A lecture ends: many students behind one address read the same few items.

    Each student reads at their own pace.
    """

    CODE: ClassVar[str] = "B4"
    TITLE: ClassVar[str] = "campus behind one address"
    GOAL: ClassVar[Goal] = "benign"
    duration_s: float = 300.0
    target: Literal["cold", "mid", "rival"] = "mid"

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        students = Accounts.fresh(world, rng, n)
        if students.frame["ip"].null_count() < n:
            students = Accounts(students.frame.with_columns(pl.lit("10.99.1.1").alias("ip")))
        who = np.repeat(np.arange(n), rng.geometric(0.4, n))
        at_s = world.now_s + rng.random(n)[who] * self.duration_s + human_gaps(rng, len(who))
        items = np.where(rng.random(len(who)) < 0.3, targets[0], world.draw_popular(rng, len(who))).tolist()
        return students.act(who, at_s, items)


@dataclass(frozen=True, kw_only=True)
class Crawlers(Attack):
    """Search engines that declare themselves read widely and at a steady pace."""

    CODE: ClassVar[str] = "B5"
    TITLE: ClassVar[str] = "declared crawlers"
    GOAL: ClassVar[Goal] = "benign"
    pages: int = 60
    duration_s: float = 600.0

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        machines = Accounts.fresh(world, rng, n, "datacentre")
        agents = [CRAWLERS[number % len(CRAWLERS)] for number in range(n)]
        if machines.frame["user_agent"].null_count() < n:
            machines = Accounts(machines.frame.with_columns(pl.Series("user_agent", agents)))
        who = np.repeat(np.arange(n), self.pages)
        at_s = world.now_s + np.tile(np.arange(self.pages) / self.pages, n) * self.duration_s + rng.random(len(who))
        known = [*world.popular, *world.cold, *targets]
        return machines.act(who, at_s, rng.choice(known, len(who)).tolist())
