"""What an attacker may know of a site at the moment the attack begins.

Everything here can be had from outside: which items are read how much (they are on the site), what the accounts,
sessions and devices of real readers look like (buy traffic, or read one's own log), the list as served. Captured
sessions and the names of aged accounts are what a thief or a broker of accounts sells.

A log without a column has no attack rows with that column either: an address next to rows that have none would give
the attack away for free.
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
N_COLD_CLICKS = 3  # an item with no more in KNOWN_S is cold


@dataclass(frozen=True, slots=True)
class World:
    """now_s: unix seconds. popular: items by acts in the last hour, most first, and these acts. cold: items known for
    hours with hardly an act. contexts: devices and places of real readers. sessions: captured, as (seconds since the
    first act, item). aged: accounts with a day of history or more, each with its usual context."""

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
        """Ids of n accounts nobody has seen, in the shape the site gives them."""
        if self.has_number_ids:
            return [str(10**12 + number) for number in _distinct(rng, n, 10**14)]
        return [f"r{number:012x}" for number in _distinct(rng, n, 16**12)]

    def new_sessions(self, rng: np.random.Generator, n: int) -> list[str]:
        """Ids of n sessions, in the shape of a number, which fits any log."""
        return [str(10**15 + number) for number in _distinct(rng, n, 10**14)]

    def draw_popular(self, rng: np.random.Generator, n: int, *, depth: int = 200) -> list[str]:
        """n items as readers choose them: in proportion to the last hour's acts."""
        if not self.popular:
            return [f"item-{number}" for number in rng.integers(50, size=n)]
        weights = self.clicks[:depth] / self.clicks[:depth].sum()
        return [self.popular[row] for row in rng.choice(len(weights), n, p=weights)]


def see(log: pl.DataFrame, now_s: float, *, board: list[str], seed: int = 0) -> World:
    """The world of a log (columns as `as_text` leaves them) at a time, to someone who saw it from outside."""
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
    """A log with its time as float and everything an event says as text; other columns as they are."""
    casts = [pl.col(name).cast(pl.String) for name in TEXT_COLUMNS if name in frame.columns]
    return frame.with_columns(pl.col("ts").cast(pl.Float64), *casts)


def _with_context(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, pl.String).alias(name) for name in CONTEXT if name not in frame.columns]
    return frame.with_columns(missing)


def _sample(frame: pl.DataFrame, rng: np.random.Generator, n: int) -> pl.DataFrame:
    return frame[np.sort(rng.permutation(len(frame))[:n])]


def _sessions(known: pl.DataFrame, rng: np.random.Generator) -> list[list[tuple[float, str]]]:
    """Real visits of three to twenty acts; by session where the log says, else by actor within half an hour."""
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
    """Of accounts first seen a day ago or more (half the log's length where that is less) a sample, busiest first."""
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
