"""Knowledge that an attacker can have of a site when the attack begins.

All of it can be had from outside. The site itself shows the list and how much each item is read. Bought traffic, or
the attacker's own log, shows how accounts, sessions and devices of real readers look. Thieves and brokers of accounts
sell captured sessions and the names of aged accounts.

If a log lacks a column, the attack's rows lack it too. An address next to rows without one would give the attack
away.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

CONTEXT = ("ip", "user_agent", "referrer", "country")
TEXT_COLUMNS = ("actor", "item", "kind", "session", *CONTEXT, "recommendation")
POPULAR_S = 3600.0
KNOWN_S = 6 * 3600.0  # how far back the attacker's own copy of the log goes
AGED_S = 86_400.0
N_CONTEXTS, N_SESSIONS, N_AGED = 2000, 300, 20_000
N_COLD_CLICKS = 3  # an item with at most this many acts in KNOWN_S is cold


@dataclass(frozen=True, slots=True)
class World:
    """A site as an attacker sees it.

    now_s: unix seconds.
    popular: items by acts in the last hour, most first.
    clicks: the number of these acts.
    cold: items known for hours with hardly an act.
    board: the served list.
    contexts: devices and places of real readers.
    sessions: captured visits, as (seconds since the first act, item).
    aged: accounts with a day of history or more, each with its usual context.
    """

    now_s: float
    popular: list[str]
    clicks: np.ndarray
    cold: list[str]
    board: list[str]
    contexts: pl.DataFrame
    sessions: list[list[tuple[float, str]]]
    aged: pl.DataFrame
    has_number_ids: bool
    events_per_s: float

    def new_ids(self, rng: np.random.Generator, n: int) -> list[str]:
        """Make ids of n accounts that no one has seen, in the shape that the site uses."""
        if self.has_number_ids:
            return [str(10**12 + number) for number in _distinct(rng, n, 10**14)]
        return [f"r{number:012x}" for number in _distinct(rng, n, 16**12)]

    def new_sessions(self, rng: np.random.Generator, n: int) -> list[str]:
        """Make ids of n sessions. They look like numbers, which fits any log."""
        return [str(10**15 + number) for number in _distinct(rng, n, 10**14)]

    def draw_popular(self, rng: np.random.Generator, n: int, *, depth: int = 200) -> list[str]:
        """Draw n items as readers choose them: in proportion to the last hour's acts."""
        if not self.popular:
            return [f"item-{number}" for number in rng.integers(50, size=n)]
        weights = self.clicks[:depth] / self.clicks[:depth].sum()
        return [self.popular[row] for row in rng.choice(len(weights), n, p=weights)]


def see(log: pl.DataFrame, now_s: float, *, board: list[str], seed: int = 0) -> World:
    """Show the world of a log at a time to someone who sees it from outside.

    log: columns as `as_text` leaves them.
    """
    rng = np.random.default_rng([seed, 0x5EE])
    past = log.filter(pl.col("ts") < now_s)
    known = past.filter(pl.col("ts") >= now_s - KNOWN_S)
    counts = known.filter(pl.col("ts") >= now_s - POPULAR_S)["item"].value_counts(sort=True)
    counts = counts.sort(["count", "item"], descending=[True, False])
    rare = known["item"].value_counts().filter(pl.col("count") <= N_COLD_CLICKS)["item"].sort().to_list()
    return World(
        now_s=now_s,
        popular=counts["item"].to_list(),
        clicks=counts["count"].to_numpy().astype(np.float64),
        cold=[rare[row] for row in rng.permutation(len(rare))[:50]],
        board=list(board),
        contexts=_sample(_with_context(known), rng, N_CONTEXTS).select(CONTEXT),
        sessions=_sessions(known, rng),
        aged=_aged(past, now_s, rng),
        has_number_ids=bool(len(past)) and past["actor"][0].isdigit() and past["actor"][-1].isdigit(),
        events_per_s=len(known) / KNOWN_S,
    )


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn the time of a log into float, and all columns of an event into text.

    Other columns stay as they are.
    """
    casts = [pl.col(name).cast(pl.String) for name in TEXT_COLUMNS if name in frame.columns]
    return frame.with_columns(pl.col("ts").cast(pl.Float64), *casts)


def _with_context(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, pl.String).alias(name) for name in CONTEXT if name not in frame.columns]
    return frame.with_columns(missing)


def _sample(frame: pl.DataFrame, rng: np.random.Generator, n: int) -> pl.DataFrame:
    return frame[np.sort(rng.permutation(len(frame))[:n])]


def _sessions(known: pl.DataFrame, rng: np.random.Generator) -> list[list[tuple[float, str]]]:
    """Collect real visits of three to twenty acts, each shorter than half an hour.

    A visit is a session. If the log has no sessions, it is all the acts of one actor.
    """
    key: list[Any] = ["actor", "session"] if "session" in known.columns else ["actor"]
    visits = (
        known.filter(pl.col("ts") >= pl.col("ts").max() - 3 * POPULAR_S)
        .group_by(key)
        .agg(pl.col("ts"), pl.col("item"))
        .filter(pl.col("ts").list.len().is_between(3, 20))
        .filter(pl.col("ts").list.max() - pl.col("ts").list.min() < POPULAR_S / 2)
        .sort(key)
    )
    return [
        [(at - visit["ts"][0], item) for at, item in zip(visit["ts"], visit["item"], strict=True)]
        for visit in _sample(visits, rng, N_SESSIONS).iter_rows(named=True)
    ]


def _aged(past: pl.DataFrame, now_s: float, rng: np.random.Generator) -> pl.DataFrame:
    """Sample the accounts first seen at least a day ago, busiest first.

    If half of the log is shorter than a day, that half is long enough.
    """
    whole = _with_context(past)
    aged = (
        whole.group_by("actor")
        .agg(pl.col("ts").min().alias("first"), pl.len().alias("acts"), *(pl.col(name).last() for name in CONTEXT))
        .filter(pl.col("first") <= now_s - min(AGED_S, 0.5 * (now_s - (past["ts"][0] if len(past) else 0.0))))
        .sort("actor")
    )
    return _sample(aged, rng, N_AGED).sort(["acts", "actor"], descending=[True, False]).drop("first")


def _distinct(rng: np.random.Generator, n: int, end: int) -> list[int]:
    numbers: dict[int, None] = {}
    while len(numbers) < n:
        numbers |= dict.fromkeys(rng.integers(end, size=n - len(numbers)).tolist())
    return list(numbers)
