"""Shelves: the part that all lists of one scope have in common.

    board of the scope ────┐
    excerpts of all shards ┴──> Shelf: leaders in order with their shares, steady and new items; of any item its
                                category, whether it rises, its scores in the trend

A shelf is made once and serves until the board or an excerpt is new. A request then only adds the items linked from
the actor's last items. A shelf knows nothing of actors. Facts of single items are computed at the first request for
them, and kept with the shelf.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommender.publishing.excerpt import Excerpt
from recommender.publishing.published_boards import PublishedBoard

EXPLORE_S = 6 * 3600
EXPLORE_BELOW = 3.0  # units by the longest half-life. An item with more is known.
CATEGORY = "category:"
RISING = 1.5  # times an item's share by the next half-life
N_HALVES = 3  # half-lives among the features of a candidate


class Shelf:
    """The common part of lists of one scope.

    shares: of the board's mass, by item, best first.
    mode: the order that does best (see `Message.mode`), as the first shard reports it.
    blend: the factor of affinity, added to the share.
    """

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
        """Return True if the shelf was made of this board and these excerpts."""
        is_same = len(excerpts) == len(self.excerpts)
        return board is self.board and is_same and all(map(_is, excerpts, self.excerpts))

    def links(self, item: str) -> Iterable[tuple[str, float, int, int]]:
        """Yield an item's links within this scope, shard by shard.

        Each is (id, strength, actors behind it, price of its place).
        """
        for number, each in enumerate(self.excerpts):
            if not self._is_in:
                yield from each.links(item)
                continue
            is_in, rows = self._is_in[number], each.rows
            yield from (link for link in each.links(item) if is_in[rows[link[0]]])

    def steady(self, limit: int) -> list[str]:
        """Return steady items that are not on the board, best first.

        They are from the first `limit` places of the steady list. Only the list of all items has any.
        """
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
        """Return, by shard, the new items that few know, newest first."""
        found = []
        for number, each in enumerate(self.excerpts):
            rows = each.fresh(EXPLORE_S, EXPLORE_BELOW)
            rows = rows[self._is_in[number][rows]] if self._is_in else rows
            found.append([each.names[row] for row in rows.tolist()])
        return found

    @cached_property
    def trends(self) -> NDArray[np.float64]:
        """Return `trends_of` the leaders."""
        return self.trends_of(list(self.shares))

    def trends_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores by half-life, float64 (n, N_HALVES)."""
        sums = np.zeros((len(names), N_HALVES))
        for each in self.excerpts:
            known = each.rows
            rows = np.array([known.get(name, -1) for name in names], np.int64)
            if len(rows) and len(each.names):
                halves = each.trend[rows][:, :N_HALVES]
                sums[:, : halves.shape[1]] += np.where(rows[:, None] >= 0, halves, 0.0)
        return sums

    def category_of(self, name: str) -> str:
        """Return the first category that the site gives an item, or an empty text."""
        known = self._categories.get(name)
        if known is None:
            known = self._categories[name] = self._find_category(name)
        return known

    def is_rising(self, name: str) -> bool:
        """Return True if an item's share is RISING times its share by the next half-life."""
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
