"""A small town to attack, made once.

Its log is steady, lasts an hour and a quarter, and has a list of forty items.
"""

from functools import cache

import numpy as np
import polars as pl

from recommender.core.pipeline import Config
from recommender.lab.attack.catalogue.known_site import World, as_text, see
from recommender.lab.attack.trials.single_run import TrialSite, WarmStates

START_S = 1_767_571_200.0
CONFIG = Config(half_lives_s=(300, 3600), horizon_s=6 * 3600, actor_budget=50, lateness_s=6 * 3600)


@cache
def log(*, seconds=4500, n=4500, n_readers=900, seed=3, has_numbers=False) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(2, 42)
    reader = rng.integers(n_readers, size=n)
    columns = {
        "ts": START_S + np.round(np.sort(rng.random(n)) * seconds, 3),
        "actor": reader + 1 if has_numbers else [f"reader-{number}" for number in reader],
        "item": rng.choice(40, n, p=popularity / popularity.sum()) + 1,
        "session": reader // 3 + 10_000,
    }
    if not has_numbers:
        columns["item"] = [f"item-{number}" for number in columns["item"]]
        columns |= {
            "ip": [f"10.{number % 7}.{number % 50}.{number % 200}" for number in reader],
            "user_agent": [f"Mozilla/5.0 (browser {number % 9})" for number in reader],
            "referrer": ["https://search.example/" if number % 3 else None for number in reader],
            "country": ["DE"] * n,
        }
    return pl.DataFrame(columns)


@cache
def site() -> TrialSite:
    return TrialSite.of("small", log(), CONFIG)


@cache
def warm() -> WarmStates:
    return WarmStates(site(), [start_ms()])


def start_ms() -> int:
    return int(START_S + 3000) * 1000


@cache
def world(*, has_numbers=False) -> World:
    frame = as_text(log(has_numbers=has_numbers))
    seen = see(frame, START_S + 3000, board=[])
    return see(frame, START_S + 3000, board=seen.popular[:20])
