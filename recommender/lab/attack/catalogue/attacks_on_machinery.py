"""Attacks on the machinery: on hashes and counters, on the drift monitor, on the stop switch.

This product counts exactly and keys its hashes, and has no sketch to fool; so these three send what such an attack
would send, and the benchmark reports what it does to the list and to the time of a step. What A17 does to the
automatic freeze is measured by `manage.py policy rehearse`.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import Accounts
from recommender.lab.attack.catalogue.attack_base import Attack, Goal
from recommender.lab.attack.catalogue.known_site import World


@dataclass(frozen=True, kw_only=True)
class Sketch(Attack):
    """Chosen ids: found by trying, so that an unkeyed hash of each ends in `zero_bits` zeros. Such ids inflate a
    distinct counter without a secret, and pile up in one corner of a hash table without one."""

    CODE: ClassVar[str] = "A15"
    TITLE: ClassVar[str] = "chosen ids against a sketch"
    zero_bits: int = 6

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        start = 10**13 + int(rng.integers(10**12))
        ids: list[str] = []
        for number in range(start, start + (n << self.zero_bits + 4)):
            if hashed(str(number)) & ((1 << self.zero_bits) - 1) == 0:
                ids.append(str(number))
                if len(ids) == n:
                    break
        accounts = Accounts(accounts.frame.with_columns(pl.Series("actor", ids, dtype=pl.String)))
        return accounts.act(np.arange(n), world.now_s + np.sort(rng.random(n)) * self.duration_s, targets[0])


@dataclass(frozen=True, kw_only=True)
class DriftBlind(Attack):
    """For every act on the target, hits on the list as it stands, in the proportion the site is used to: the rate of
    hits that a monitor watches does not move."""

    CODE: ClassVar[str] = "A16"
    TITLE: ClassVar[str] = "drift monitor kept blind"
    hit_rate: float = 0.69  # HR@20 of the list on the news log
    duration_s: float = 600.0
    BENCH: ClassVar[dict[str, Any]] = {"duration_s": 180.0}

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        hits = rng.poisson(self.hit_rate / (1 - self.hit_rate), n)
        who = np.concatenate([np.arange(n), np.repeat(np.arange(n), hits)])
        listed = world.board[:20] or world.draw_popular(rng, 20)
        items = [targets[0]] * n + rng.choice(listed, int(hits.sum())).tolist()
        at_s = world.now_s + rng.random(n) * self.duration_s
        return accounts.act(who, at_s[who] + rng.random(len(who)) * 60, items)


@dataclass(frozen=True, kw_only=True)
class ForcedFreeze(Attack):
    """A minute of noise, clicks on items nobody reads, to trip a monitor just before something happens."""

    CODE: ClassVar[str] = "A17"
    TITLE: ClassVar[str] = "the stop switch provoked"
    GOAL: ClassVar[Goal] = "disturb"
    clicks: int = 5

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        accounts = Accounts.fresh(world, rng, n)
        who = np.repeat(np.arange(n), self.clicks)
        unread = [*targets, *world.cold, *world.new_ids(rng, 20)]
        return accounts.act(
            who, world.now_s + rng.random(len(who)) * self.duration_s, rng.choice(unread, len(who)).tolist()
        )


def hashed(name: str) -> int:
    """The hash of an id as anybody can compute it: BLAKE2b without a key."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
