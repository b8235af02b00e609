"""Attacks on the machinery: on hashes and counters, on monitors, on the freeze.

Groundswell counts exactly and hashes with a secret key, so it has no sketch to fool. These three attacks send the
events that such an attack would send. The benchmark reports their effect on the list and on the time of a step.
`manage.py policy rehearse` measures the effect of A17 on the automatic freeze.
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
    """The attacker tries ids until an unkeyed hash of each ends in `zero_bits` zeros.

    Such ids inflate a distinct counter that has no secret. In a hash table without a secret they pile up in one
    place.
    """

    CODE: ClassVar[str] = "A15"
    TITLE: ClassVar[str] = "ids chosen to fool a counting sketch"
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
    """Each act on the target comes with the usual share of clicks on the current list.

    So the hit rate that a monitor watches does not move.
    """

    CODE: ClassVar[str] = "A16"
    TITLE: ClassVar[str] = "hiding from a drift monitor"
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
    """A minute of clicks on unread items, to trip a monitor before the real attack."""

    CODE: ClassVar[str] = "A17"
    TITLE: ClassVar[str] = "provoking an automatic freeze"
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
    """Return the hash of an id as anyone can compute it: BLAKE2b without a key."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
