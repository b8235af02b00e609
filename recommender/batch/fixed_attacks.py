"""The fixed attacks against each candidate: the same accounts, acts and times.

    a log up to a time ──> known_site.see ──> plans of CODES, sized by what an undefended list would ask ──> Assault

A plan is made once, from the log alone, before any candidate is looked at. So candidates are compared by the damage
that the same accounts do to them. New accounts (A4) are the attack of anyone who can make accounts. Old accounts that
are taken over (A9) are the attack of anyone who can buy them. A candidate that trusts sooner is weaker against A4.
One that forgets faster is weaker against both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recommender.core.events import EventBatch
from recommender.core.pipeline import Config, Pipeline
from recommender.lab.attack import batch_columns
from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.catalogue.known_site import KNOWN_S, as_text, see

CODES = ("A4", "A9")
N_STARTS = 4
BUDGET = 4.0  # times the price of the tenth place of an undefended list, in accounts
LEAST, MOST = 20, 5000  # accounts
LASTS_S = 1800
MAX_KNOWN = 300_000  # past acts that the attacker looks at
PLACE = 10


@dataclass(frozen=True, slots=True)
class Assault:
    """One planned attack.

    events: in order of time, encoded as by a Pipeline without a secret.
    from_ms, to_ms: the period in which it is followed.
    """

    code: str
    targets: tuple[str, ...]
    n_accounts: int
    events: EventBatch
    from_ms: int
    to_ms: int


def plan(
    rows: pl.LazyFrame, config: Config, starts_ms: Sequence[int], codes: Sequence[str] = CODES, *, seed: int = 1
) -> list[Assault]:
    """Plan an attack at each time, with the kinds in turn.

    Each is followed until the next begins, so that only one copy of a Pipeline is attacked at a time. An attack that
    lacks its means, for example old accounts, is left out. Memory: MAX_KNOWN rows.

    starts_ms: ascending.
    """
    encoder, made = Pipeline(config), []
    ends_ms = [*starts_ms[1:], starts_ms[-1] + 1000 * LASTS_S] if starts_ms else []
    for number, (start_ms, end_ms) in enumerate(zip(starts_ms, ends_ms, strict=True)):
        start_s = start_ms / 1000
        known = rows.filter(pl.col("ts").is_between(start_s - 4 * KNOWN_S, start_s, closed="left"))
        log = as_text(known.tail(MAX_KNOWN).collect(engine="streaming"))
        if not len(log):
            continue
        world = see(log, start_s, board=[], seed=seed)
        n = int(np.clip(np.ceil(BUDGET * price(log, start_s, config.half_lives_s[0])), LEAST, MOST))
        code = codes[number % len(codes)]
        try:
            found = attack(code).for_bench(target="cold").plan(world, n_actors=n, seed=seed + number)
        except ValueError:
            continue
        events = batch_columns.encode(encoder, found.rows)
        to_ms = min(end_ms, start_ms + 1000 * LASTS_S)
        if to_ms > start_ms:
            made.append(Assault(code, found.targets, found.n_actors, events, start_ms, to_ms))
    return made


def price(log: pl.DataFrame, now_s: float, half_life_s: float) -> float:
    """Return the accounts that an undefended decayed count asks for its tenth place.

    It is 1 if there are fewer items.
    """
    weight = 2.0 ** ((pl.col("ts") - now_s) / half_life_s)
    sums = log.group_by("item").agg(weight.sum().alias("sum"))["sum"].top_k(PLACE)
    return float(sums[-1]) if len(sums) == PLACE else 1.0


def starts(rows: pl.LazyFrame, from_ms: int, n: int = N_STARTS) -> list[int]:
    """Return n times (ms, whole seconds) after a time, spread evenly over acts.

    So readers are there to see the attacks.
    """
    shares = [pl.col("ts").quantile((number + 1) / (n + 1)).alias(str(number)) for number in range(n)]
    found = rows.filter(pl.col("ts") >= from_ms / 1000).select(shares).collect(engine="streaming").row(0)
    return [int(at) * 1000 for at in found if at is not None]
