"""Affinity: which items actors open after which.

Links are forward-decayed, capped counts of ordered pairs of items.

    units of an actor (Trend.learn) ──> its history, the last HISTORY of them by their own times
                                              └──> links source -> target, the nearer in the history the more
    links of a source, strongest first ──> its neighbours ──> shown from enough actors and enough weight on

**A link** records that an actor came from `source` to `target` within `window_s`. The target is its next act (one
step) or the second or third after it. `reach` holds the weight of each number of steps. The link counts at the time
of the target's unit. It counts with the lesser of the two units' weights, which is the kind's weight times the trust
that the trend gave the actor. Affinity learns exactly the units that the trend learns, when the trend learns them.
Held events, canaries and units past a budget add nothing.

**The cap.** An actor gets one unit per item and horizon, and an item appears once in a history. So an actor adds at
most one unit to a link in a horizon, however many events it sends. All its links together hold at most `sum(reach)`
times its budget (`Trend`), since links decay at least as fast as the budget does.

**Linear, and independent of order.** The links of an actor are a function of its history. Its history is the set of
its units in order of their own times. When a unit comes late, moves, is undone or is retracted, the links become
those of the history with or without it. A removed unit leaves no trace: the act before it is then followed by the
act after it. Counts are integers (see `core.tables.decay`). So the order of events, the cuts between steps and the
sum over shards do not change a single bit.

**Forgotten units.** A history forgets all but its last HISTORY units, and all units of an actor when the table was
full. Their links stay in the counts and fade by half every half-life, and can no longer be removed. A history
accepts no unit at or before the time of a unit it has forgotten, so that nothing is counted twice. An event that
comes back later than that has no part in links.

**Support.** Each link also counts its actors, by epoch, over the two to three epochs that counts are kept for (8 to
12 hours at a half-life of half an hour). If the horizon is longer than that, the number is exact. Otherwise some
actors are counted more than once, and the rule asks for proportionally more. A link is *shown* from `min_actors`
actors and `min_weight` units on. The cost of placing an item next to another is then exact arithmetic
(`place_prices.link_margins`).

**Bounds.** There are at most `max_links` links and `max_sources` sources, and the weakest are evicted first. There
are at most `max_histories` histories, and those whose last act is oldest are evicted first. A source lists
N_NEIGHBOURS links, always its strongest. This list is a function of the counts and no part of the state. A link
takes about 70 bytes, and 24 where it is listed. An actor takes 61 bytes, and 140 more if it ever had more than SHORT
units.

A history is not dropped for its age. An actor that comes back after weeks is still recommended what readers of its
last items read. So every row has an influence until the table is full.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.affinity import affinity_kernels, link_kernels
from recommender.core.affinity.affinity_columns import (
    BEHIND,
    BLOCK,
    D_BLOCK,
    D_LENGTH,
    HISTORY,
    ITEM,
    LINK,
    N_NEIGHBOURS,
    Rhythm,
)
from recommender.core.affinity.affinity_tables import AffinityTables
from recommender.core.tables.decay import EPOCH_OCTAVES, N_EPOCHS, POW, TICK_BITS, TICKS, combined
from recommender.core.tables.hashing import find, mix
from recommender.core.trend.place_prices import entry_margin, link_margins
from recommender.core.trend.trend_columns import CHANGED, Units
from recommender.core.trust import WEIGHT_BITS, WEIGHT_ONE

SPAN_HALF_LIVES = N_EPOCHS * EPOCH_OCTAVES  # a unit is forgotten after this many at the latest
_NOBODY = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class AffinityConfig:
    """Settings of affinity, explained in the module. Raises ValueError.

    half_life_s: seconds, at most the trend's longest half-life.
    window_s: seconds, the longest gap between two acts that links them.
    reach: the weight of a link of one step, of two steps and so on, in (0, 1].
    min_actors, min_weight: the actors and units from which a link is shown.
    """

    half_life_s: int = 1800
    window_s: int = 86_400
    reach: tuple[float, ...] = (1.0, 0.3, 0.1)
    min_actors: int = 3
    min_weight: float = 0.01
    max_histories: int = 500_000
    max_links: int = 1_000_000
    max_sources: int = 200_000

    def __post_init__(self) -> None:
        if not 0 < len(self.reach) < HISTORY or not all(1 / WEIGHT_ONE <= each <= 1 for each in self.reach):
            raise ValueError(f"reach must hold 1 to {HISTORY - 1} weights, each above 0 and at most 1")
        if min(self.half_life_s, self.window_s, self.min_actors) <= 0 or not 1 / WEIGHT_ONE <= self.min_weight <= 1e6:
            raise ValueError("half_life_s, window_s, min_actors and min_weight must be positive")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Items shown next to an item, strongest first.

    keys: of the items, uint64 (n,).
    counts: int64 (n,), on the scale on which an act made now adds `unit`.
    n_actors: int64 (n,), the actors behind each.
    margin_actors, margin_trust: the price of each place (see `place_prices.link_margins`).
    entry: new actors needed for one more place.
    """

    keys: NDArray[np.uint64]
    counts: NDArray[np.int64]
    n_actors: NDArray[np.int64]
    unit: int
    margin_actors: list[int]
    margin_trust: list[float]
    entry: int


class Affinity:
    """Links between items, learned from the units of actors.

    horizon_s, longest_half_life_s: of the trend.
    floor: the weight of an actor never seen before, in WEIGHT_ONE.
    """

    def __init__(
        self, config: AffinityConfig, *, horizon_s: int, longest_half_life_s: int, floor: int = WEIGHT_ONE
    ) -> None:
        # Links fade at least as fast as the budget of actors. This bounds the sum that one actor adds to them.
        half_life_s = min(config.half_life_s, longest_half_life_s)
        self.config = config
        self._half_ms = 1000 * half_life_s
        self._floor = floor
        self._epoch = np.zeros(1, np.int64)
        self._reach = np.array([round(each * WEIGHT_ONE) for each in config.reach], np.int32)
        # One actor may be counted this often behind a link within the span of the counts.
        self.min_actors = config.min_actors * (1 + SPAN_HALF_LIVES * half_life_s // horizon_s)
        self._min_weight = round(config.min_weight * WEIGHT_ONE)
        self._tables = AffinityTables(
            Rhythm(self._half_ms, self._epoch, 1000 * config.window_s, self._reach),
            {"histories": config.max_histories, "links": config.max_links, "sources": config.max_sources},
        )
        self.histories, self.longer = self._tables.histories, self._tables.longer
        self.links, self.sources = self._tables.links, self._tables.sources

    # -- learning ------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Move to stream time `now_ms` and drop counts of past epochs and empty links."""
        epoch = now_ms * TICKS // self._half_ms // TICKS // EPOCH_OCTAVES
        if epoch > self._epoch[0]:
            self._tables.turn(epoch)

    def learn(self, actors: NDArray[np.uint64], items: NDArray[np.uint64], units: Units) -> None:
        """Learn a batch's changes to units (see `Trend.learn`).

        Call `advance` to the batch's stream time first.
        """
        self._tables.take(len(items), len(items) * 3 * len(self._reach))
        forgotten_ms, packed = self._tables.forgotten_ms, self._tables.packed
        affinity_kernels.learn(actors, items, units.change, units.weight, units.at_ms, forgotten_ms, packed)
        self._tables.evict()

    def retract(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        """Remove these units from the links, as if they had never been."""
        n = len(items)
        lost = Units(np.full(n, CHANGED, np.int8), np.full(n, -1, np.int32), np.zeros(n, np.int64))
        self.learn(actors, items, lost)

    def forget(self, actor: np.uint64) -> None:
        """Remove an actor's history and all links that it still accounts for."""
        affinity_kernels.take_out_all(actor, self._tables.packed)
        for table in (self.histories, self.longer):
            table.keep(np.flatnonzero(table.keys[: len(table)] != actor))

    # -- reading -------------------------------------------------------------------------------------------------

    def recent(self, actor: int) -> NDArray[np.uint64]:
        """Return the keys of an actor's last items, newest first, at most HISTORY.

        The array is empty for an unknown actor.
        """
        row = find(self.histories.slots, self.histories.keys, np.uint64(actor))
        if row < 0:
            return _NOBODY
        h = np.zeros((HISTORY + 1, 3), np.int64)
        n = affinity_kernels.load(self._tables.views[0], self._tables.views[4], row, h)
        return h[:n, ITEM][::-1].copy().view(np.uint64)

    def neighbours(self, item: int, now_ms: int, depth: int = N_NEIGHBOURS) -> Neighbours:
        """Return the items shown next to an item, in at most `depth` places.

        O(links of the item). It changes nothing.
        """
        unit, least = self.unit(now_ms), self.least(now_ms)
        row = find(self.sources.slots, self.sources.keys, np.uint64(item))
        if row < 0:
            entry = entry_margin([], self.fresh(now_ms), least, self.min_actors)
            nothing = np.empty(0, np.int64)
            return Neighbours(_NOBODY, nothing, nothing, unit, [], [], entry)
        d = self.sources["d"][row].astype(np.int64)
        spots = (d[D_BLOCK:, None] * BLOCK + np.arange(BLOCK)).ravel()[: d[D_LENGTH]]
        lists, views = self._tables.lists, self._tables.views
        counts, actors = lists["amount"][spots], lists["linked"][spots, BEHIND].astype(np.int64)
        places = np.flatnonzero((counts >= least) & (actors >= self.min_actors))
        keys = self.links.keys[lists["linked"][spots, LINK]]
        places = places[np.lexsort((keys[places], -counts[places]))][:depth]
        is_shown = np.zeros(N_NEIGHBOURS, np.int8)
        is_shown[places] = 1
        found = link_kernels.outsiders(views[1], views[2], row, int(self._epoch[0]), is_shown)
        outside = list(zip(found[0].tolist(), found[1].tolist(), strict=True))
        listed, fresh = counts[places].tolist(), self.fresh(now_ms)
        price, trust = link_margins(listed, outside, unit, fresh, least, self.min_actors)
        return Neighbours(
            lists["target"][spots[places]],
            counts[places],
            actors[places],
            unit,
            price,
            trust,
            entry_margin(outside, fresh, least, self.min_actors),
        )

    def link(self, source: int, target: int) -> tuple[int, int]:
        """Return a link's count and its number of actors, or (0, 0) without a link."""
        key = np.uint64(mix(np.uint64(source), np.uint64(target)))
        row = find(self.links.slots, self.links.keys, key)
        if row < 0:
            return 0, 0
        count = combined(self.links["counts"], row, 0, int(self._epoch[0]))
        return int(count), int(link_kernels.behind(self.links["actors"], row))

    def unit(self, now_ms: int) -> int:
        """Return the weight of a full-weight act made now, on the scale of the counts."""
        tick = now_ms * TICKS // self._half_ms
        octave = (tick >> TICK_BITS) - int(self._epoch[0]) * EPOCH_OCTAVES
        return WEIGHT_ONE * int(POW[tick & (TICKS - 1)]) << octave

    def fresh(self, now_ms: int) -> int:
        """Return the most that a newcomer can add to a link now, as a count."""
        return self.unit(now_ms) * self._floor >> WEIGHT_BITS

    def least(self, now_ms: int) -> int:
        """Return the count from which a link is shown, on the scale of the counts."""
        return self.unit(now_ms) * self._min_weight >> WEIGHT_BITS

    def counts(self) -> NDArray[np.int64]:
        """Return the counts of all links, by row."""
        return self._tables.counts()

    @property
    def packed(self) -> tuple[tuple[Any, ...], ...]:
        """Return the fields of all tables and of Rhythm, for kernels that read.

        They are valid until the next write.
        """
        return self._tables.packed

    @property
    def epoch(self) -> int:
        """Return the epoch that sets the scale of the counts."""
        return int(self._epoch[0])

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {"epoch": int(self._epoch[0]), **self._tables.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if it does not fit."""
        self._epoch[0] = state["epoch"]
        self._tables.restore(state)
