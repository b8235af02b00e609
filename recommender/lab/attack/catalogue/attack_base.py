"""Base of all attacks: a budget of accounts, a target, camouflage, and a plan.

    Attack(parameters).plan(world, n_actors, seed) ──> Plan: rows in order of time, and their goal

A plan is made from the world as it is when the attack begins. Variants that watch the list and react (`campaign`)
send the same rows at other times. The defaults of the parameters are recorded or documented values of such attacks.
If a documented attack lasts for weeks, `BENCH` holds the shorter form that the benchmark runs.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.accounts import SCHEMA, human_gaps
from recommender.lab.attack.catalogue.known_site import World

Goal = Literal["promote", "demote", "disturb", "benign"]
TargetChoice = Literal["cold", "mid", "rival"]
TARGET_CHOICES: tuple[TargetChoice, ...] = ("cold", "mid", "rival")
MID_PLACE = 60
LEAD_S = 300.0  # the camouflage comes this long before the first act on a target


@dataclass(frozen=True, slots=True)
class Plan:
    """Acts of an attack, and their goal.

    rows: columns as in `accounts.SCHEMA`, sorted by ts.
    targets: the items to push or to harm.
    goal: decides what counts as success.
    """

    rows: pl.DataFrame
    targets: tuple[str, ...]
    goal: Goal

    @property
    def n_actors(self) -> int:
        return self.rows["actor"].n_unique()

    @property
    def end_s(self) -> float:
        return float(self.rows["ts"][-1]) if len(self.rows) else 0.0


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Parameters that all attacks share.

    target: which sort of item. For a promotion, "rival" is the item just below the list. For a demotion, it is the
        item at `place` of the list.
    camouflage: share of an account's acts that go to popular items beforehand.
    browse: share of accounts that open a popular item after their last act on a target.
    duration_s: length of the whole attack, in seconds.
    """

    CODE: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    GOAL: ClassVar[Goal] = "promote"
    N_TARGETS: ClassVar[int] = 1
    BENCH: ClassVar[dict[str, Any]] = {}

    target: TargetChoice = "cold"
    place: int = 5
    camouflage: float = 0.0
    browse: float = 0.0
    duration_s: float = 60.0

    def __post_init__(self) -> None:
        if (
            not 0 <= self.camouflage < 1
            or not 0 <= self.browse <= 1
            or self.duration_s <= 0
            or self.target not in TARGET_CHOICES
        ):
            raise ValueError(
                "camouflage must be in [0, 1), browse in [0, 1], duration_s above 0,"
                f" and target one of {', '.join(TARGET_CHOICES)}"
            )

    @classmethod
    def for_bench(cls, **parameters: Any) -> Self:
        """Return the attack as the benchmark runs it."""
        return cls(**(cls.BENCH | parameters))

    def plan(self, world: World, *, n_actors: int, seed: int, targets: tuple[str, ...] | None = None) -> Plan:
        """Plan the attack with at most n_actors accounts.

        The same world, budget and seed give the same plan.
        """
        if n_actors < 1:
            raise ValueError("an attack needs at least one account")
        rng = np.random.default_rng([seed, zlib.crc32(self.CODE.encode())])
        targets = targets or self.choose_targets(world, rng)
        lead_s = LEAD_S if self.camouflage else 0.0
        rows = self.rows(replace(world, now_s=world.now_s + lead_s), rng, n_actors, targets)
        if not len(rows):
            raise ValueError(f"{self.CODE} needs accounts with a history, and this log has none")
        rows = pl.concat([_camouflage(rows, world, rng, self.camouflage), rows]) if self.camouflage else rows
        rows = pl.concat([rows, _browsing(rows, world, rng, self.browse)]) if self.browse else rows
        rows = rows.with_columns(pl.col("ts").clip(lower_bound=world.now_s).round(3))
        return Plan(rows.select(*SCHEMA).sort("ts", maintain_order=True), targets, self.GOAL)

    def rows(self, world: World, rng: np.random.Generator, n: int, targets: tuple[str, ...]) -> pl.DataFrame:
        """Return the acts of n accounts from `world.now_s` on, in any order."""
        raise NotImplementedError

    def choose_targets(self, world: World, rng: np.random.Generator) -> tuple[str, ...]:
        """Choose N_TARGETS items of the wanted sort, or new items if the site has none."""
        if self.target == "cold":
            known = world.cold
        elif self.target == "mid":
            known = world.popular[MID_PLACE:]
        elif self.GOAL == "demote":
            known = world.board[self.place - 1 :]
        else:
            known = [item for item in world.popular[:40] if item not in world.board[:10]]
        start = int(rng.integers(max(1, min(20, len(known) - self.N_TARGETS)))) if self.target != "rival" else 0
        chosen = known[start : start + self.N_TARGETS]
        return tuple(chosen + world.new_ids(rng, self.N_TARGETS - len(chosen)))


def _camouflage(rows: pl.DataFrame, world: World, rng: np.random.Generator, share: float) -> pl.DataFrame:
    """Add acts on popular items by each account before its first act.

    They make up the `share` of all acts.
    """
    firsts = rows.sort("ts", maintain_order=True).unique("actor", keep="first", maintain_order=True)
    n = rng.poisson(share / (1 - share) * len(rows) / max(1, len(firsts)), len(firsts))
    who = np.repeat(np.arange(len(firsts)), n)
    before_s = human_gaps(rng, len(who), median_s=45.0) * (1 + rng.integers(3, size=len(who)))
    return firsts[who].with_columns(
        pl.Series("ts", firsts["ts"].to_numpy()[who] - before_s),
        pl.Series("item", world.draw_popular(rng, len(who)), dtype=pl.String),
        pl.lit("click").alias("kind"),
    )


def _browsing(rows: pl.DataFrame, world: World, rng: np.random.Generator, share: float) -> pl.DataFrame:
    """Add one more act on a popular item some seconds after an account's last act.

    Honest readers go on like this.
    """
    acts = rows.filter(pl.col("kind") != "undo").sort("ts", maintain_order=True)
    lasts = acts.unique("actor", keep="last", maintain_order=True)
    lasts = lasts.filter(pl.Series(rng.random(len(lasts)) < share, dtype=pl.Boolean))
    return lasts.with_columns(
        pl.col("ts") + pl.Series(human_gaps(rng, len(lasts), median_s=15.0, spread=0.5)),
        pl.Series("item", world.draw_popular(rng, len(lasts)), dtype=pl.String),
        pl.lit("click").alias("kind"),
    )
