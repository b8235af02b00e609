"""Compare Groundswell's rankings with well-known ones on one log.

    rows in order ──> after the warm-up, of first acts of an actor on an item every n-th: at which place does each
                      ranking have the item, among what the actor has not seen? ──> every ranking learns the row

All rankings (`peer_rankings`) get the same questions: the same row, with the same items left out, before any of them
learns it. The warm-up is the share WARM of the rows. Groundswell runs as configured, with its defence. Its answer is
the blend (`core.ranking.candidates`), which is served while the ranker is bypassed. A ranking with steps of seconds
is asked with the knowledge of its last step.

Cost: the table shows each peer's time for questions and rows. Groundswell's rankings share one figure, which includes
the trend and the defence. Memory: 16 bytes a row, a set of items per actor, and the peers' own.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from recommender.batch import factorisation
from recommender.batch.peer_rankings import (
    PLACES,
    BiasedMF,
    CoOccurrence,
    Daily,
    DecayedCount,
    MostRead,
    OurBoard,
    Ours,
    Peer,
)
from recommender.core.pipeline import Config

WARM = 0.2
TOLD_EVERY = 10_000
TITLES = {
    "daily": "most read of the day before",
    "decayed": "decayed count, the served half-life",
    "beside": "item co-occurrence, for good",
    "knn": "implicit, item-kNN, fitted daily",
    "als": "implicit, ALS, fitted daily",
    "biased-mf": "River, BiasedMF as shipped",
    "trending": "ours, trending",
    "personalised": "ours, personalised",
}
OPTIONAL = {"knn", "als"}


@dataclass(slots=True)
class Answered:
    """The results of one ranking.

    took_s: seconds of one core, for asking and learning.
    """

    name: str
    n: int = 0
    hits: int = 0
    reciprocal_ranks: float = 0.0
    took_s: float = 0.0

    @property
    def hr20(self) -> float:
        return self.hits / self.n if self.n else 0.0

    @property
    def mrr20(self) -> float:
        return self.reciprocal_ranks / self.n if self.n else 0.0


@dataclass(slots=True)
class RankingResult:
    """The results of a comparison.

    n_rows: rows of the log. n_asked: questions. answered: results by ranking.
    """

    n_rows: int
    n_asked: int
    answered: list[Answered] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        rankings = [asdict(each) | {"hr20": each.hr20, "mrr20": each.mrr20} for each in self.answered]
        return {"rows": self.n_rows, "questions": self.n_asked, "rankings": rankings}

    def table(self) -> Table:
        table = Table("ranking", "HR@20", "MRR@20", "s", title=f"{self.n_rows:,} rows, {self.n_asked:,} questions")
        for each in self.answered:
            table.add_row(TITLES[each.name], f"{each.hr20:.3f}", f"{each.mrr20:.3f}", f"{each.took_s:.0f}")
        return table


def available() -> list[str]:
    """Return the names of the rankings that can run here."""
    is_there = factorisation.is_there()
    return [name for name in TITLES if is_there or name not in OPTIONAL]


def measure(
    rows: pl.DataFrame,
    config: Config,
    names: Iterable[str],
    *,
    every: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> RankingResult:
    """Ask the rankings with these names.

    Raises ValueError.

    rows: ts (s, ascending), actor, item, of acts only.
    """
    if every < 1:
        raise ValueError("every must be at least 1")
    actors, actor_names = _numbered(rows["actor"])
    items, item_names = _numbered(rows["item"])
    asked = [name for name in TITLES if name in set(names)]
    if len(asked) != len(set(names)):
        raise ValueError(f"there is no such ranking: choose from {', '.join(TITLES)}")
    peers = _made(asked, config, (actor_names, item_names))
    answered = {name: Answered(name) for name in asked}
    seen: defaultdict[int, set[int]] = defaultdict(set)
    n_warm, n_first, n_asked = int(WARM * len(rows)), 0, 0
    for row, (actor, item, at_s) in enumerate(zip(actors, items, rows["ts"].to_list(), strict=True)):
        is_first = item not in seen[actor]
        n_first += is_first and row >= n_warm
        is_question = is_first and row >= n_warm and n_first % every == 0
        n_asked += is_question
        for name, peer in peers.items():
            began_at = time.process_time()
            peer.advance(at_s)
            if is_question and name in answered:
                _note(answered[name], place_of(item, peer.best(actor, seen[actor]), seen[actor]))
            peer.learn(actor, item, at_s)
            if name in answered:
                answered[name].took_s += time.process_time() - began_at
        seen[actor].add(item)
        if on_progress and row % TOLD_EVERY == TOLD_EVERY - 1:
            on_progress(TOLD_EVERY)
    return RankingResult(len(rows), n_asked, list(answered.values()))


def place_of(item: int, listed: Iterable[int], seen: set[int]) -> int:
    """Return an item's place among the first PLACES unseen items of a list, or 0.

    >>> place_of(7, [3, 5, 7], {5})
    2
    """
    place = 0
    for other in listed:
        if other not in seen:
            place += 1
            if place > PLACES:
                return 0
            if other == item:
                return place
    return 0


def _note(answered: Answered, place: int) -> None:
    answered.n += 1
    if place:
        answered.hits += 1
        answered.reciprocal_ranks += 1 / place


def _made(names: list[str], config: Config, ids: tuple[list[str], list[str]]) -> dict[str, Peer]:
    """Return the peers by name, with `Ours` before the board that reads it."""
    half_life_s = config.half_lives_s[0]
    makers: dict[str, Callable[[], Peer]] = {
        "daily": MostRead,
        "decayed": lambda: DecayedCount(half_life_s),
        "beside": CoOccurrence,
        "knn": lambda: Daily("knn"),
        "als": lambda: Daily("als"),
        "biased-mf": lambda: BiasedMF(half_life_s),
    }
    made = {name: makers[name]() for name in names if name in makers}
    if {"trending", "personalised"} & set(names):
        ours = Ours(config, ids)
        made["personalised"] = ours
        if "trending" in names:
            made["trending"] = OurBoard(ours)
    return made


def _numbered(ids: pl.Series) -> tuple[list[int], list[str]]:
    """Return ids as numbers by first appearance, and the ids by number."""
    texts = ids.cast(pl.String)
    names = texts.unique(maintain_order=True)
    numbers = texts.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64)
    return numbers.to_list(), names.to_list()
