"""What lists for actors of one scope have in common, worked out once until its board or an excerpt is new.

    board of the scope ────┐
    excerpts of all shards ┴──> Shelf: leaders in order with their shares, the steady, the new; and of any item its
                                category, whether it rises, how it does in the trend

A request then only adds what the actor's last items lead to. Nothing here knows an actor. A shelf takes 0.3 ms to
make; what is asked of single items is worked out when it is asked for the first time, and kept with the shelf.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommender.publishing.excerpt import Excerpt
from recommender.publishing.published_boards import PublishedBoard

EXPLORE_S = 6 * 3600
EXPLORE_BELOW = 3.0  # units by the longest half-life; what has more is known
CATEGORY = "category:"
RISING = 1.5  # times its share by the next half-life
N_HALVES = 3  # that the features of a candidate hold


class Shelf:
    """shares: of the board's mass, by item, best first. mode: the order that does best, see `Message.mode`; the first
    shard's word is taken. blend: of affinity beside the share."""

    def __init__(self, board: PublishedBoard, excerpts: Sequence[Excerpt], scope: str = "") -> None:
        self.board, self.excerpts, self._scope = board, excerpts, scope
        self.category = scope.removeprefix(CATEGORY) if scope.startswith(CATEGORY) else ""
        mass = sum(board.counts) or 1
        self.shares = {item: count / mass for item, count in zip(board.items, board.counts, strict=True)}
        self.leaders = list(self.shares.items())
        self.mode = excerpts[0].message.mode if excerpts else "trend"
        self.blend = excerpts[0].message.blend if excerpts else 0.0
        self._is_in = [each.is_in(self.category) for each in excerpts] if self.category else []
        self._categories: dict[str, str] = {}
        self._rising: dict[str, bool] = {}

    def is_of(self, board: PublishedBoard, excerpts: Sequence[Excerpt]) -> bool:
        """Whether these are what the shelf was made of."""
        is_same = len(excerpts) == len(self.excerpts)
        return board is self.board and is_same and all(map(_is, excerpts, self.excerpts))

    def links(self, item: str) -> Iterable[tuple[str, float, int, int]]:
        """What an item leads to in this scope, shard by shard: id, strength, actors behind it, price of its place."""
        for number, each in enumerate(self.excerpts):
            if not self._is_in:
                yield from each.links(item)
                continue
            is_in, rows = self._is_in[number], each.rows
            yield from (link for link in each.links(item) if is_in[rows[link[0]]])

    def steady(self, limit: int) -> list[str]:
        """What of the first so many places of the steady list is not on the board, best first; only where the list is
        that of all."""
        return [name for place, name in self._steady if place < limit]

    @cached_property
    def _steady(self) -> list[tuple[int, str]]:
        if self._scope:
            return []
        ranked = [
            (place, each.names[row]) for each in self.excerpts for place, row in enumerate(each.steady.tolist())
        ]
        first = {name: place for place, name in sorted(ranked, reverse=True)}
        return sorted((place, name) for name, place in first.items() if name not in self.shares)

    @cached_property
    def fresh(self) -> list[list[str]]:
        """By shard: what is new and hardly known, newest first."""
        found = []
        for number, each in enumerate(self.excerpts):
            rows = each.fresh(EXPLORE_S, EXPLORE_BELOW)
            rows = rows[self._is_in[number][rows]] if self._is_in else rows
            found.append([each.names[row] for row in rows.tolist()])
        return found

    @cached_property
    def trends(self) -> NDArray[np.float64]:
        """`trends_of` the leaders."""
        return self.trends_of(list(self.shares))

    def trends_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Scores by half-life, float64 (n, N_HALVES)."""
        sums = np.zeros((len(names), N_HALVES))
        for each in self.excerpts:
            known = each.rows
            rows = np.array([known.get(name, -1) for name in names], np.int64)
            if len(rows) and len(each.names):
                halves = each.trend[rows][:, :N_HALVES]
                sums[:, : halves.shape[1]] += np.where(rows[:, None] >= 0, halves, 0.0)
        return sums

    def category_of(self, name: str) -> str:
        """The first the site says of an item, empty where it says none."""
        known = self._categories.get(name)
        if known is None:
            known = self._categories[name] = self._find_category(name)
        return known

    def is_rising(self, name: str) -> bool:
        """Whether its share is larger now than by the next half-life."""
        known = self._rising.get(name)
        if known is None:
            known = self._rising[name] = self._find_rising(name)
        return known

    def _find_category(self, name: str) -> str:
        for each in self.excerpts:
            row = each.rows.get(name)
            if row is not None:
                return next(iter(each.categories(row)), "")
        return ""

    def _find_rising(self, name: str) -> bool:
        for each in self.excerpts:
            row = each.rows.get(name)
            if row is not None and each.trend.shape[1] > 1:
                now, before = (each.trend[row, :2] / each.mass[:2]).tolist()
                return bool(now > RISING * before)
        return False


def _is(one: Excerpt, other: Excerpt) -> bool:
    return one is other
