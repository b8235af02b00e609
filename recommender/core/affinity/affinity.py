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

from recommender.core.affinity import affinity_columns, affinity_kernels, link_kernels
from recommender.core.affinity.affinity_columns import (
    BEHIND,
    BLOCK,
    D_BLOCK,
    D_LENGTH,
    HISTORY,
    ITEM,
    LINK,
    N_DERIVED,
    N_NEIGHBOURS,
    SHORT,
)
from recommender.core.tables import Table
from recommender.core.tables.decay import EPOCH_OCTAVES, N_EPOCHS, POW, TICK_BITS, TICKS, combine_all, combined
from recommender.core.tables.hashing import MAX_ROWS, find, find_all, mix
from recommender.core.tables.memory import zeros
from recommender.core.tables.table import strongest
from recommender.core.trend.place_prices import entry_margin, link_margins
from recommender.core.trend.trend_columns import CHANGED, Units
from recommender.core.trust import WEIGHT_BITS, WEIGHT_ONE

KEPT_AT_EVICTION = 7 / 8
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
        self.histories = Table(
            {
                "item": (np.uint64, (SHORT,)),
                "at_ms": (np.int64, (SHORT,)),
                "weight": (np.int16, (SHORT,)),
                "length": (np.int8, ()),
                "since_ms": (np.int64, ()),
            }
        )
        rest = HISTORY - SHORT
        self.longer = Table(
            {"item": (np.uint64, (rest,)), "at_ms": (np.int64, (rest,)), "weight": (np.int16, (rest,))}
        )
        self.links = Table(
            {
                "source": (np.uint64, ()),
                "target": (np.uint64, ()),
                "counts": (np.int64, (1, N_EPOCHS)),
                "actors": (np.int32, (N_EPOCHS,)),
                "following": (np.int32, ()),
                "place": (np.int16, ()),
            },
            derived=("following", "place"),
        )
        self.sources = Table(
            {
                "counts": (np.int64, (1, N_EPOCHS)),
                "d": (np.int32, (N_DERIVED,)),
            },
            derived=("d",),
        )
        self._lists = _new_lists(0)
        self._most = {
            "histories": min(config.max_histories, MAX_ROWS // 2),
            "links": min(config.max_links, MAX_ROWS // 2),
            "sources": min(config.max_sources, MAX_ROWS // 2),
        }
        self._forgotten_ms = -1
        self._see_tables()

    # -- learning ------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Move to stream time `now_ms` and drop counts of past epochs and empty links."""
        epoch = now_ms * TICKS // self._half_ms // TICKS // EPOCH_OCTAVES
        if epoch <= self._epoch[0]:
            return
        for passed in range(max(int(self._epoch[0]), epoch - N_EPOCHS) + 1, epoch + 1):
            self.links["counts"][:, 0, passed % N_EPOCHS] = 0
            self.links["actors"][:, passed % N_EPOCHS] = 0
            self.sources["counts"][:, 0, passed % N_EPOCHS] = 0
        self._epoch[0] = epoch
        is_empty = ~(self.links["counts"].any(axis=(1, 2)) | self.links["actors"].any(axis=1))
        self.links.keep(np.flatnonzero(~is_empty))
        self._keep_sources()
        self._derive()

    def learn(self, actors: NDArray[np.uint64], items: NDArray[np.uint64], units: Units) -> None:
        """Learn a batch's changes to units (see `Trend.learn`).

        Call `advance` to the batch's stream time first.
        """
        n, n_links = len(items), len(items) * 3 * len(self._reach)
        grown = [
            self.histories.reserve(n),
            self.longer.reserve(n),
            self.links.reserve(n_links),
            self.sources.reserve(n_links + n),
            self._reserve_blocks(int(self._lists["n_used"][0]) + n_links),
        ]
        if any(grown):
            self._see_tables()
        affinity_kernels.learn(
            actors, items, units.change, units.weight, units.at_ms, self._forgotten_ms, self._packed
        )
        self._evict()

    def retract(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        """Remove these units from the links, as if they had never been."""
        n = len(items)
        lost = Units(np.full(n, CHANGED, np.int8), np.full(n, -1, np.int32), np.zeros(n, np.int64))
        self.learn(actors, items, lost)

    def forget(self, actor: np.uint64) -> None:
        """Remove an actor's history and all links that it still accounts for."""
        affinity_kernels.take_out_all(actor, self._packed)
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
        n = affinity_kernels.load(self._views[0], self._views[4], row, h)
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
        counts, actors = self._lists["amount"][spots], self._lists["linked"][spots, BEHIND].astype(np.int64)
        places = np.flatnonzero((counts >= least) & (actors >= self.min_actors))
        keys = self.links.keys[self._lists["linked"][spots, LINK]]
        places = places[np.lexsort((keys[places], -counts[places]))][:depth]
        is_shown = np.zeros(N_NEIGHBOURS, np.int8)
        is_shown[places] = 1
        found = link_kernels.outsiders(self._views[1], self._views[2], row, int(self._epoch[0]), is_shown)
        outside = list(zip(found[0].tolist(), found[1].tolist(), strict=True))
        listed, fresh = counts[places].tolist(), self.fresh(now_ms)
        price, trust = link_margins(listed, outside, unit, fresh, least, self.min_actors)
        return Neighbours(
            self._lists["target"][spots[places]],
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
        return combine_all(self.links.data["counts"], len(self.links), 0, int(self._epoch[0]))

    @property
    def packed(self) -> tuple[tuple[Any, ...], ...]:
        """Return the fields of all tables and of Rhythm, for kernels that read.

        They are valid until the next write.
        """
        return self._packed

    @property
    def epoch(self) -> int:
        """Return the epoch that sets the scale of the counts."""
        return int(self._epoch[0])

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "epoch": int(self._epoch[0]),
            "forgotten_ms": self._forgotten_ms,
            "histories": self.histories.state(),
            "longer": self.longer.state(),
            "links": self.links.state(),
            "sources": self.sources.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`. Raises ValueError if it does not fit."""
        self._epoch[0], self._forgotten_ms = state["epoch"], state["forgotten_ms"]
        for name in ("histories", "longer", "links", "sources"):
            getattr(self, name).restore(state[name])
        self._see_tables()
        self._derive()

    # -- inside --------------------------------------------------------------------------------------------------

    def _see_tables(self) -> None:
        self._views = (
            affinity_columns.Histories(**_arrays(self.histories)),
            affinity_columns.Links(**_arrays(self.links)),
            affinity_columns.Sources(**_arrays(self.sources), **self._lists),
            affinity_columns.Rhythm(self._half_ms, self._epoch, 1000 * self.config.window_s, self._reach),
            affinity_columns.Longer(**_arrays(self.longer)),
        )
        self._packed = tuple(tuple(view) for view in self._views)

    def _derive(self) -> None:
        """Make the lists of all sources anew."""
        if self._reserve_blocks(len(self.sources) + len(self.links) // BLOCK, is_emptied=True):
            self._see_tables()
        link_kernels.derive(self._views[1], self._views[2], int(self._epoch[0]))

    def _reserve_blocks(self, needed: int, *, is_emptied: bool = False) -> bool:
        """Make room for blocks of lists, and return True if the arrays are new ones.

        is_emptied: the present lists are made anew anyway, so they are not kept.
        """
        if needed * BLOCK <= len(self._lists["amount"]):
            return False
        grown = _new_lists(needed + needed // 8)
        n_used = 0 if is_emptied else int(self._lists["n_used"][0])
        grown["n_used"][0] = n_used
        for name in ("target", "amount", "linked"):
            grown[name][: n_used * BLOCK] = self._lists[name][: n_used * BLOCK]
            self._lists[name] = grown[name]
        self._lists["n_used"] = grown["n_used"]
        return True

    def _keep_sources(self) -> None:
        """Drop sources that have neither links nor counts."""
        rows = link_kernels.rows_of_sources(self._views[1], self._views[2])
        has_links = np.zeros(len(self.sources), np.bool_)
        has_links[rows] = True
        self.sources.keep(np.flatnonzero(has_links | self.sources["counts"].any(axis=(1, 2))))

    def _evict(self) -> None:
        """Cut every table that has passed its bound back to seven eighths of it."""
        histories, links, sources = self.histories, self.links, self.sources
        if len(histories) > self._most["histories"]:
            last_ms = affinity_kernels.last_times(self._views[0], self._views[4])
            kept = strongest(last_ms, histories.keys[: len(histories)], _kept(self._most["histories"]))
            is_kept = np.zeros(len(histories), np.bool_)
            is_kept[kept] = True
            self._forgotten_ms = max(self._forgotten_ms, int(last_ms[~is_kept].max()))
            histories.keep(kept)
            longer = self.longer
            has_history = find_all(histories.slots, histories.keys, longer.keys[: len(longer)]) >= 0
            longer.keep(np.flatnonzero(has_history))
        is_cut = len(sources) > self._most["sources"]
        if is_cut:
            worth = combine_all(sources.data["counts"], len(sources), 0, int(self._epoch[0]))
            sources.keep(strongest(worth, sources.keys[: len(sources)], _kept(self._most["sources"])))
            links.keep(np.flatnonzero(link_kernels.rows_of_sources(self._views[1], self._views[2]) >= 0))
        if len(links) > self._most["links"]:
            links.keep(strongest(self.counts(), links.keys[: len(links)], _kept(self._most["links"])))
            is_cut = True
        if is_cut:
            self._derive()


def _new_lists(n_blocks: int) -> dict[str, NDArray[Any]]:
    """Return empty lists of sources, by the fields of `affinity_columns.Sources`."""
    n = n_blocks * BLOCK
    return {
        "n_used": np.zeros(1, np.int64),
        "target": zeros((n,), np.uint64),
        "amount": zeros((n,), np.int64),
        "linked": zeros((n, 2), np.int32),
    }


def _kept(most: int) -> int:
    return int(most * KEPT_AT_EVICTION)


def _arrays(table: Table) -> dict[str, NDArray[Any]]:
    return {"slots": table.slots, "keys": table.keys, "size": table.size, **table.data}
