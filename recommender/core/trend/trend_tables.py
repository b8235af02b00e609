"""Tables of a trend: items, networks, pairs and actors, and the eviction of rows.

    Trend.learn ──take──> room for a batch ──> views, packed: the kernels work on these, and add rows to them
                                 past a bound? ──evict──> seven eighths of it, the strongest
    counts ──weigh_all──> excess ──sort_leaders──> score, place, leaders    derived: made anew, never stored

`trend` defines the meaning of counts and changes them. This module knows no time except the epochs of its clock.

**Bounds.** Rows of each table, and the rows that go first when it is full:

- `items`: the weakest by the longest half-life.
- `regions`, by item and country: the weakest likewise.
- `pairs`: the oldest units. With more than that within a horizon, the cap on an actor holds for as long as the table
  reaches back. 36 bytes a pair, and 6 to 8 of slots.
- `actors`, their budgets: the longest unspent.
- `networks`, by prefix or group: the weakest. A row that comes back starts at zero.

**Rows that no longer matter** are dropped when an epoch turns, which is a fixed stream time. A row is dropped only if
a row made anew would be the same, so no later result depends on it:

- `networks` without counts, when an epoch of the served half-life turns (40 minutes at five minutes).
- `items` and `regions` without counts, when an epoch of the longest half-life turns (two days at six hours). That is
  three such epochs after the last act.
- `actors`, then too, whose spending has decayed and whose points have faded. That takes about a year from an actor's
  only visit.

A pair is never dropped for its age, even that of an actor who came once. While the pair is known, an act of the actor
on the item is not its first. So the act is not predicted, is no read of the day, and earns no point for a new item.
Without the pair an actor could earn trust again and again from the same items. A pair costs little more than the two
keys that such a rule needs. So the bound of the table is what forgets pairs, the oldest first.
"""

from typing import Any

import numpy as np

from recommender.core.tables import Table, decay, hashing
from recommender.core.tables.decay import N_EPOCHS
from recommender.core.tables.hashing import MAX_ROWS
from recommender.core.tables.table import KEPT_AT_EVICTION, strongest
from recommender.core.trend import count_kernels, trend_columns, trend_kernels
from recommender.core.trend.trend_columns import LIST_DEPTH
from recommender.core.trust import TrustRules

Views = tuple[
    trend_columns.Pairs,
    trend_columns.Actors,
    trend_columns.Items,
    trend_columns.Regions,
    trend_columns.Networks,
    trend_columns.Clock,
    TrustRules,
    trend_columns.Leaders,
]


class TrendTables:
    """All tables of a trend, with their bounds.

    clock: the trend moves its epochs.
    trust: the rules of the actors' trust.
    bounds: rows at most, by the table's name, for all five.
    """

    def __init__(self, clock: trend_columns.Clock, trust: TrustRules, bounds: dict[str, int]) -> None:
        self._clock, self._trust = clock, trust
        self._max = {name: min(most, MAX_ROWS // 2) for name, most in bounds.items()}
        counts = (np.int64, (len(clock.half_ms), N_EPOCHS))
        self.items = Table(
            {
                "counts": counts,
                "excess": (np.int64, ()),
                "removed": (np.int64, ()),
                "score": (np.int64, ()),
                "place": (np.int16, ()),
            },
            derived=("excess", "removed", "score", "place"),
        )
        self.regions = Table({"item": (np.uint64, ()), "country": (np.int16, ()), "counts": counts})
        self.networks = Table(
            {
                "item": (np.uint64, ()),
                "group": (np.uint64, ()),
                "counts": (np.int64, (1, N_EPOCHS)),
                "excess": (np.int64, ()),
                "below": (np.int64, ()),
                "is_listed": (np.int8, ()),
                "over": (np.int32, ()),
            },
            derived=("excess", "below", "is_listed", "over"),
        )
        self.pairs = Table(
            {
                "item": (np.uint64, ()),
                "at_ms": (np.int64, ()),
                "weight": (np.int16, ()),
                "country": (np.int16, ()),
                "prefix": (np.uint64, ()),
            }
        )
        points = np.int16 if max(trust.full, trust.per_day + trust.item_cap) < 1 << 15 else np.int32
        self.actors = Table(
            {
                "spent": (np.int32 if clock.budget < 1 << 31 else np.int64, ()),
                "tick": (np.int64, ()),
                "earned": (points, ()),
                "pending": (points, ()),
                "day_ms": (np.int64, ()),
            }
        )
        self.names: list[str] = []  # of the items, by row
        self.leaders = np.zeros(LIST_DEPTH, np.int32)  # rows of items, best first
        self.n_leaders = np.zeros(1, np.int64)
        self.is_dirty = np.zeros(1, np.int64)  # a score fell, so the leaders must be made anew
        self.n_over = np.zeros(1, np.int64)  # networks with an excess
        self.knee = np.zeros(2, np.int64)  # of a prefix and of a group, on the scale of the counts now
        self._room = self._network_room = 0  # rows that fit before a table must grow or be cut
        self._see()

    # -- room ----------------------------------------------------------------------------------------------------

    def take(self, n: int, n_networks: int) -> None:
        """Make room in every table for n rows that are about to come.

        n_networks: the room in the table of networks.
        """
        if n > self._room or n_networks > self._network_room:
            self._make_room(n, n_networks)
        self._room -= n
        self._network_room -= n_networks

    @property
    def is_past_bounds(self) -> bool:
        """Return True if a table may hold more rows than its bound."""
        return self._room < 0 or self._network_room < 0

    def evict(self) -> None:
        """Cut every table that has passed its bound back to seven eighths of it."""
        longest, epoch = int(np.argmax(self._clock.half_ms)), self._clock.epoch
        has_lost_items = len(self.items) > self._max["items"]
        for name, by in (("items", "counts"), ("regions", "counts"), ("pairs", "at_ms"), ("actors", "tick")):
            table: Table = getattr(self, name)
            if len(table) <= self._max[name]:
                continue
            if by == "counts":
                worth = decay.combine_all(table.data["counts"], len(table), longest, epoch[longest])
            else:
                worth = table[by]
            rows = strongest(worth, table.keys[: len(table)], int(self._max[name] * KEPT_AT_EVICTION))
            table.keep(rows)
            if name == "items":
                self.names = [self.names[row] for row in rows]
                self.is_dirty[0] = 1
        if has_lost_items or len(self.networks) > self._max["networks"]:
            self._evict_networks()

    def sweep(self, now_ms: int) -> None:
        """Drop the rows that no longer matter, see the module. O(rows), except pairs.

        The caller must then make the derived columns anew.
        """
        items, regions = self.items, self.regions
        regions.keep(count_kernels.rows_with_counts(regions.data["counts"], len(regions)))
        rows = count_kernels.rows_with_counts(items.data["counts"], len(items))
        if len(rows) < len(items):
            items.keep(rows)
            self.names = [self.names[row] for row in rows.tolist()]
        self.sweep_networks()
        self.actors.keep(trend_kernels.actors_that_matter(self.views[1], now_ms, self._clock, self._trust))
        self._room = 0

    def sweep_networks(self) -> None:
        """Drop the networks without counts, and those without an item.

        A group stays while one of its prefixes does.
        """
        networks, items = self.networks, self.items
        n = len(networks)
        is_kept = np.zeros(n, np.bool_)
        is_kept[count_kernels.rows_with_counts(networks.data["counts"], n)] = True
        is_kept &= hashing.find_all(items.slots, items.keys, networks["item"]) >= 0
        groups = networks["group"][is_kept]
        rows = hashing.find_all(networks.slots, networks.keys, groups[groups != 0])
        is_kept[rows[rows >= 0]] = True
        networks.keep(np.flatnonzero(is_kept))
        self._network_room = 0

    def _evict_networks(self) -> None:
        """Remove the weakest rows of networks, and those left without an item or a group.

        A prefix's row never exists without its group's, and no row without its item's.
        """
        networks, items = self.networks, self.items
        is_group = networks["group"] == 0
        worth = 2 * decay.combine_all(networks.data["counts"], len(networks), 0, self._clock.epoch[0]) + is_group
        if len(networks) > self._max["networks"]:
            n_kept = int(self._max["networks"] * KEPT_AT_EVICTION)
            networks.keep(strongest(worth, networks.keys[: len(networks)], n_kept))
        has_item = hashing.find_all(items.slots, items.keys, networks["item"]) >= 0
        group = networks["group"]
        has_group = (group == 0) | (hashing.find_all(networks.slots, networks.keys, group) >= 0)
        networks.keep(np.flatnonzero(has_item & has_group))
        self.weigh_all()
        self.is_dirty[0] = 1

    def _make_room(self, n: int, n_networks: int) -> None:
        """Grow the tables and set the rooms anew.

        A room is below 0 if its table would then be past its bound.
        """
        tables = [(getattr(self, name), most) for name, most in self._max.items() if name != "networks"]
        grown = [table.reserve(n, self._let_go) for table, _ in tables]
        grown.append(self.networks.reserve(n_networks, self._let_go))
        if any(grown):
            self._see()
        self._room = min(min(table.room, most - len(table)) for table, most in tables)
        self._network_room = min(self.networks.room, self._max["networks"] - len(self.networks))

    def _let_go(self) -> None:
        """Drop the views, which would keep each replaced array, until `_see`."""
        self.__dict__.pop("views", None)
        self.__dict__.pop("packed", None)

    def _see(self) -> None:
        """Make `views`, which the kernels work on, and `packed`, their fields.

        They are valid until a table grows.
        """
        items = self.items.arrays
        score, place = items.pop("score"), items.pop("place")
        self.views: Views = (
            trend_columns.Pairs(**self.pairs.arrays),
            trend_columns.Actors(**self.actors.arrays),
            trend_columns.Items(**items),
            trend_columns.Regions(**self.regions.arrays),
            trend_columns.Networks(**self.networks.arrays, n_over=self.n_over, knee=self.knee),
            self._clock,
            self._trust,
            trend_columns.Leaders(self.leaders, self.n_leaders, score, place, self.is_dirty),
        )
        self.packed = tuple(tuple(view) for view in self.views)

    # -- derived columns -----------------------------------------------------------------------------------------

    def weigh_all(self) -> None:
        """Make the excess of all networks anew: O(networks + items)."""
        _, _, items, _, networks, clock, _, _ = self.views
        count_kernels.weigh_all(networks, items, clock)

    def sort_leaders(self) -> None:
        """Make the scores and the sorted list of leaders anew: O(items)."""
        n = len(self.items)
        counts = decay.combine_all(self.items.data["counts"], n, 0, self._clock.epoch[0])
        scores = counts - self.items["excess"]
        self.items["score"][:] = scores
        self.items["place"][:] = -1
        rows = np.flatnonzero(scores > 0)
        keys = self.items.keys[rows]
        best = strongest(scores[rows], keys, LIST_DEPTH)
        rows = rows[best[np.lexsort((keys[best], -scores[rows][best]))]]
        self.leaders[: len(rows)] = rows
        self.n_leaders[0] = len(rows)
        self.items["place"][rows] = np.arange(len(rows))
        self.is_dirty[0] = 0

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {"names": list(self.names), **{name: getattr(self, name).state() for name in self._max}}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state that `state()` returned.

        The caller must then make the derived columns anew. Raises ValueError if columns do not fit.
        """
        self.names = list(state["names"])
        for name in self._max:
            getattr(self, name).restore(state[name])
        self.items["removed"][:] = 0
        self._room = self._network_room = 0
        self._see()
