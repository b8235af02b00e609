"""Accounts of an attack: who they are, where they seem to be, and their acts.

    Accounts.fresh | Accounts.aged ──act(who, at_s, items)──> rows of a log

There are four kinds of network. All addresses are from ranges that the internet does not route.

    residential  a proxy's address in some household; half of them are in networks that readers use
    host         one address for all accounts
    datacentre   a few networks and one headless browser
    farm         up to three networks and one phone
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.known_site import CONTEXT, World

Network = Literal["residential", "host", "datacentre", "farm"]
SCHEMA = {
    "ts": pl.Float64,
    "actor": pl.String,
    "item": pl.String,
    "kind": pl.String,
    "session": pl.String,
    "ip": pl.String,
    "user_agent": pl.String,
    "referrer": pl.String,
    "country": pl.String,
    "recommendation": pl.String,
}
HEADLESS = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/141.0.0.0 Safari/537.36"
PHONE = "Mozilla/5.0 (Linux; Android 11; Redmi 9A) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts of one attack, one row each: actor, session, and its context."""

    frame: pl.DataFrame

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def fresh(cls, world: World, rng: np.random.Generator, n: int, network: Network = "residential") -> "Accounts":
        """Make n accounts that no one has seen before."""
        frame = _draw_contexts(world, rng, n)
        return cls(_named(frame, world.new_ids(rng, n), world, rng)).moved(rng, network)

    @classmethod
    def aged(cls, world: World, rng: np.random.Generator, n: int, *, is_own_device: bool) -> "Accounts":
        """Draw n accounts with a history, or fewer if the log has fewer.

        They act from the owner's device, or from someone else's.
        """
        rows = world.aged[np.sort(rng.permutation(len(world.aged))[:n])]
        frame = rows if is_own_device else _draw_contexts(world, rng, len(rows))
        accounts = cls(_named(frame.select(CONTEXT), rows["actor"].to_list(), world, rng))
        return accounts if is_own_device else accounts.moved(rng, "residential")

    def moved(self, rng: np.random.Generator, network: Network) -> "Accounts":
        """Return the same accounts in another network.

        Accounts of a log without addresses get no address.
        """
        has_ip = self.frame["ip"].null_count() < len(self.frame)
        has_agent = self.frame["user_agent"].null_count() < len(self.frame)
        columns = {}
        if has_ip:
            columns["ip"] = pl.Series(_addresses(rng, self.frame["ip"].to_list(), network), dtype=pl.String)
        if has_agent and network != "residential":
            columns["user_agent"] = pl.Series([PHONE if network == "farm" else HEADLESS] * len(self), dtype=pl.String)
        return Accounts(self.frame.with_columns(**columns)) if columns else self

    def marked(self, **columns: str | None) -> "Accounts":
        """Return the same accounts with one value in a column.

        The column is referrer, user_agent or country. A column that the log lacks stays empty. If a referrer or a
        user agent is a code in this log and not text, it becomes null.
        """
        known = {name: value for name, value in columns.items() if self.frame[name].null_count() < len(self)}
        is_code = {name for name in known if (self.frame[name].drop_nulls().head(20).str.len_chars() <= 2).all()}
        chosen = {name: None if name in is_code and name != "country" else value for name, value in known.items()}
        return Accounts(self.frame.with_columns(**{name: pl.lit(v, pl.String) for name, v in chosen.items()}))

    def act(self, who: np.ndarray, at_s: np.ndarray, items: list[str] | str, kind: str = "click") -> pl.DataFrame:
        """Return one row per act: account number `who[i]` acts on `items[i]` at `at_s[i]`."""
        items = [items] * len(who) if isinstance(items, str) else items
        return self.frame[np.asarray(who, np.int64)].select(
            pl.Series("ts", np.asarray(at_s, np.float64)),
            "actor",
            pl.Series("item", items, dtype=pl.String),
            pl.lit(kind).alias("kind"),
            "session",
            *CONTEXT,
            pl.lit(None, pl.String).alias("recommendation"),
        )


def human_gaps(rng: np.random.Generator, n: int, *, median_s: float = 20.0, spread: float = 0.9) -> np.ndarray:
    """Draw the pauses between a person's acts, in seconds: lognormal."""
    return rng.lognormal(np.log(median_s), spread, n)


def _named(frame: pl.DataFrame, ids: list[str], world: World, rng: np.random.Generator) -> pl.DataFrame:
    sessions = world.new_sessions(rng, len(frame))
    return frame.with_columns(
        pl.Series("actor", ids, dtype=pl.String), pl.Series("session", sessions, dtype=pl.String)
    )


def _draw_contexts(world: World, rng: np.random.Generator, n: int) -> pl.DataFrame:
    if not len(world.contexts):
        return pl.DataFrame({name: pl.Series([None] * n, dtype=pl.String) for name in CONTEXT})
    return world.contexts[rng.integers(len(world.contexts), size=n)]


def _addresses(rng: np.random.Generator, like: list[str | None], network: Network) -> list[str]:
    n = len(like)
    low, mid, host = rng.integers(1, 250, (3, n)).tolist()
    if network == "host":
        return ["198.18.7.7"] * n
    if network == "datacentre":
        return [f"198.18.{a % 8}.{h}" for a, h in zip(low, host, strict=True)]
    if network == "farm":
        return [f"198.19.{a % 3}.{h}" for a, h in zip(low, host, strict=True)]
    addresses = []
    for known, is_near, a, b, h in zip(like, rng.random(n) < 0.5, low, mid, host, strict=True):
        near = known.rpartition(".")[0] if known and "." in known else ""
        addresses.append(f"{near}.{h}" if is_near and near else f"10.{100 + a % 150}.{b}.{h}")
    return addresses
