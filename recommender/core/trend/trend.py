"""Trend: how much each item is being read now, as forward-decayed, capped counts.

    events ──> a unit an (actor, item) and horizon ──> counts by item, and by item and country, one a half-life
                                                  └──> sums by item and network ──> excess over their concave count
                     count less excess ──> score ──> the best items by the first half-life, kept sorted

**The half-life is the learning rate of a count.** A unit of time t weighs 2**((t - now)/h) now. A short half-life
adapts within minutes and forgets as fast. A place is cheap to enter and dear to keep, and noise shows where readers
are few. A long half-life has inertia. Noise and short pushes drown in it, and so do the first minutes of a real
story. Several half-lives are kept, and the first is the one served.

**The unit.** All acts of an actor on an item within a horizon count once, as one unit. It has the weight of the
strongest act and the time of the earliest. Acting again does not refresh the unit: holding a place must cost new
actors (Defence: holding). An undo removes the actor's own unit, at its own time. Acting again puts it back where it
was. An act that is older than the unit by a horizon or more is not counted.

**The weight** of a unit is the kind's, times the actor's trust when it acted (see `trust`).

**The budget.** All units of one actor together, decayed by the longest half-life, stay within `actor_budget`. Beyond
it, new units are not funded. So for every half-life kept, the sum over items of an actor's contributions has a limit.
It is the budget times the highest trust the actor had.

**Networks.** Many actors behind one network count less than as many in separate networks, but never zero. Campuses
and carriers put thousands behind one address. Let x_g be the sum of an item's units from a prefix g (/24, /48). Let G
be its group (/16, /32: about an operator's). Let U be the units that came without an address, which is held against
no one. The served half-life ranks by

    S = sum over G of phi2( sum over g in G of phi1(x_g) ) + U ,     phi(x) = x up to a knee C, 2 sqrt(C x) - C beyond

phi is concave with slope from 1 down, and unbounded: four times the actors, twice the weight. So an act adds at most
its weight and lowers nothing, which is all the certificates need. phi2 is applied to the result of phi1. The lesser
of two separate limits would not do. If the other sum is the lesser, a network could add more than phi1 gives
it, and no price in networks would hold.

C is in units of an act at full trust made now, so it moves on the scale of the counts. It is set anew 64 times a
half-life, and is up to 1.1 % low in between. Only the sums are kept, which are linear. phi is applied in reading, so
order, batches, undoing and release stay exact. Fresh bots, of trust 0.05 and all at once, knees 5 and 40:

    bots       count   in one /24   in one /16, 256 a /24   each in a /16 of its own
    100          5         5.0             5.0                      5.0
    1,000       50        26.6            43.1                     50.0
    10,000     500        83.1           221.8                    499.9

The other half-lives count linearly. If the counts of several shards are summed, each shard applies phi to its part.
For a network spread over n shards, the sum is up to sqrt(n) times the amount that one shard would give it.

**Exactness.** Counts are integers (see `core.tables.decay`). The order of events within a horizon's rules, the split
into batches and the sum over shards cannot change them by one bit. Only reading rounds, because past epochs are
shifted onto the scale of the current one. The coarsest step is 2**-26 of a unit. Source of the scheme: Cormode,
Shkapenyuk, Srivastava, Xu, *Forward decay* (ICDE 2009). Here the landmark is moved by whole epochs, and time is in
ticks of h/4096 (0.07 s at five minutes). So a weight differs from the real-valued one by less than 0.02 %.

**Bounds.** See `trend_tables` for the tables' bounds, and for the rows that go first when one is full. 150 ns an
event.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.tables import decay
from recommender.core.tables.decay import EPOCH_OCTAVES, N_EPOCHS, POW, TICK_BITS, TICKS
from recommender.core.tables.hashing import pair_keys
from recommender.core.tables.table import strongest
from recommender.core.trend import count_kernels, trend_columns, trend_kernels
from recommender.core.trend.board import Board
from recommender.core.trend.trend_columns import LIST_DEPTH
from recommender.core.trend.trend_kernels import SPENT_BITS
from recommender.core.trend.trend_tables import TrendTables, Views
from recommender.core.trust import WEIGHT_BITS, WEIGHT_ONE, TrustConfig

PROMISE_ONE = 1 << 16
KNEE_TICK_BITS = 6  # the knees move every 64 ticks, 4.7 s at five minutes
PREFIX_ACTORS = 256  # addresses of a /24


class Trend:
    """Counts of all items by half-life.

    half_lives_s: seconds, the first is served.
    horizon_s: seconds.
    actor_budget: units.
    network_knee, group_knee: units, of a prefix and of a group of prefixes.
    max_...: rows, see `trend_tables`.
    """

    def __init__(
        self,
        *,
        half_lives_s: tuple[int, ...],
        horizon_s: int,
        actor_budget: int,
        trust: TrustConfig,
        network_knee: float,
        group_knee: float,
        max_items: int,
        max_regions: int,
        max_networks: int,
        max_pairs: int,
        max_actors: int,
    ) -> None:
        if not half_lives_s or min(half_lives_s) <= 0 or horizon_s <= 0 or actor_budget <= 0:
            raise ValueError("half-lives, horizon and budget must be positive")
        if not (1 / WEIGHT_ONE <= network_knee <= 1e6 and 1 / WEIGHT_ONE <= group_knee <= 1e6):
            raise ValueError(f"knees must be from {1 / WEIGHT_ONE:.5f} to a million units")
        self._half_ms = np.array([1000 * seconds for seconds in half_lives_s], np.int64)
        self._epoch = np.zeros(len(half_lives_s), np.int64)
        self._trust = trust.rules()
        self._knees = [round(knee * WEIGHT_ONE) for knee in (network_knee, group_knee)]
        budget = actor_budget * (WEIGHT_ONE << SPENT_BITS)
        self._tables = TrendTables(
            trend_columns.Clock(self._half_ms, int(self._half_ms.max()), self._epoch, 1000 * horizon_s, budget),
            self._trust,
            {
                "items": max_items,
                "regions": max_regions,
                "networks": max_networks,
                "pairs": max_pairs,
                "actors": max_actors,
            },
        )
        self.items, self.regions, self.networks = self._tables.items, self._tables.regions, self._tables.networks
        self.pairs, self.actors = self._tables.pairs, self._tables.actors
        self._knee_slot = -1
        self._next_epoch_ms = 0
        self.now_ms = 0  # stream time of the last `advance`
        self._move_knees(0)

    # -- learning ------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Move to stream time `now_ms`.

        Counts of past epochs are dropped. Scores are by the knees as of now.
        """
        self.now_ms = now_ms
        is_new_epoch = now_ms >= self._next_epoch_ms and self._turn_epochs(now_ms)
        has_moved = self._move_knees(now_ms)
        if is_new_epoch:
            self._tables.weigh_all()
        elif has_moved and self._tables.n_over[0]:
            _, _, items, _, networks, clock, _, leaders = self._tables.views
            count_kernels.weigh_over(networks, items, leaders, clock)
        if is_new_epoch or self._tables.is_dirty[0]:
            self._tables.sort_leaders()

    def _turn_epochs(self, now_ms: int) -> bool:
        """Drop the counts of past epochs, and then the rows that no longer matter.

        Returns True if the derived columns must be made anew.
        """
        is_served = is_longest = False
        epochs = now_ms * TICKS // self._half_ms // TICKS // EPOCH_OCTAVES
        for half in np.flatnonzero(epochs > self._epoch):
            for epoch in range(max(self._epoch[half], epochs[half] - N_EPOCHS) + 1, epochs[half] + 1):
                self.items["counts"][:, half, epoch % N_EPOCHS] = 0
                self.regions["counts"][:, half, epoch % N_EPOCHS] = 0
                if half == 0:
                    self.networks["counts"][:, 0, epoch % N_EPOCHS] = 0
            self._epoch[half] = epochs[half]
            is_served |= half == 0
            is_longest |= bool(self._half_ms[half] == self._half_ms.max())
        if is_longest:
            self._tables.sweep(now_ms)
        elif is_served:
            self._tables.sweep_networks()
        self._next_epoch_ms = int(((self._epoch + 1) * EPOCH_OCTAVES * self._half_ms).min())
        return is_served or is_longest

    def _move_knees(self, now_ms: int) -> bool:
        """Bring the knees onto the scale of the counts now.

        Returns False if they are there already.
        """
        slot = now_ms * TICKS // int(self._half_ms[0]) >> KNEE_TICK_BITS
        if slot == self._knee_slot:
            return False
        tick = slot << KNEE_TICK_BITS
        octave = (tick >> TICK_BITS) - int(self._epoch[0]) * EPOCH_OCTAVES
        self._tables.knee[:] = [knee * int(POW[tick & (TICKS - 1)]) << octave for knee in self._knees]
        self._knee_slot = slot
        return True

    def learn(
        self, events: trend_columns.Events, shown: trend_columns.Shown, item_names: Any
    ) -> tuple[NDArray[np.int8], trend_columns.Units]:
        """Learn a batch after `advance` to its stream time.

        shown: the lists that the batch's events are predicted from.

        Returns int8 (n, 4) and the outcome of each event's unit. The first three columns are the place of each
        event's item in the lists for its actor. It is `PLACES` + 1 if the item is not in the first `PLACES`. It is 0
        if the event was not predicted, because it is not the actor's first act on the item. The fourth column is the
        kind of actor, `trend_columns.ORDINARY`, `TRUSTED` or `CANARY`.
        """
        n = len(events.item)
        self._tables.take(n, 2 * n if events.prefix.any() else 0)
        ranks = np.zeros((n, 4), np.int8)
        first_events = np.empty(n, np.int32)
        n_items = len(self.items)
        units = trend_columns.Units(np.zeros(n, np.int8), np.empty(n, np.int32), np.empty(n, np.int64))
        trend_kernels.fold_packed(tuple(events), self._tables.packed, tuple(shown), ranks, first_events, tuple(units))
        if len(self.items) > n_items:
            self._tables.names += [item_names[event] for event in first_events[: len(self.items) - n_items]]
        if self._tables.is_past_bounds:
            self._tables.evict()
        if self._tables.is_dirty[0]:
            self._tables.sort_leaders()
        return ranks, units

    def retract(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> int:
        """Remove the units of these (actor, item) pairs, as if they had never been.

        Each is removed at its own time. Within its horizon, acts of the pair count no more. Budgets are not given
        back.

        actors, items: keys, uint64 (n,).

        Returns how many units there were. 0.5 us a pair.
        """
        pairs, _, counts, regions, networks, clock, _, leaders = self._tables.views
        n_retracted = trend_kernels.retract(actors, items, pairs, counts, regions, networks, clock, leaders)
        if self._tables.is_dirty[0]:
            self._tables.sort_leaders()
        return int(n_retracted)

    def reinstate(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> int:
        """Undo `retract` for the future only: the next act of these pairs counts again.

        It counts at its own time.

        actors, items: keys, uint64 (n,).

        Returns how many pairs were retracted.
        """
        return int(trend_kernels.reinstate(actors, items, self._tables.views[0]))

    def forget(self, actor: np.uint64) -> NDArray[np.uint64]:
        """Remove all units of an actor, and everything kept of the actor.

        Each unit is removed at its own time. Returns the keys of their items. O(pairs).
        """
        items, keys = self.pairs["item"], self.pairs.keys[: len(self.pairs)]
        is_theirs = pair_keys(actor, items) == keys
        of_actor: NDArray[np.uint64] = items[is_theirs].copy()
        self.retract(np.full(len(of_actor), actor), of_actor)
        self.pairs.keep(np.flatnonzero(~is_theirs))
        self.actors.keep(np.flatnonzero(self.actors.keys[: len(self.actors)] != actor))
        return of_actor

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def trusted(self) -> tuple[Any, ...]:
        """Return the earnings of actors, as the fields of `trend_columns.Actors`.

        They are valid until the trend learns again.
        """
        return self._tables.packed[1]

    @property
    def packed(self) -> tuple[tuple[Any, ...], ...]:
        """Return the fields of all tables, for kernels that read them.

        They are valid until the trend learns again.
        """
        return self._tables.packed

    @property
    def views(self) -> Views:
        """Return the same as named tuples."""
        return self._tables.views

    @property
    def names(self) -> list[str]:
        """Return the items' ids, by row."""
        return self._tables.names

    def leaders(self) -> NDArray[np.uint64]:
        """Return the keys of the best items of the served half-life, best first.

        At most `LIST_DEPTH` of them.
        """
        return self.items.keys[self._tables.leaders[: self._tables.n_leaders[0]]]

    def leading_rows(self, depth: int) -> NDArray[np.int32]:
        """Return the rows of the `depth` best items, best first."""
        return self._tables.leaders[: min(depth, int(self._tables.n_leaders[0]))]

    def best(self, half: int) -> NDArray[np.uint64]:
        """Return the keys of the best items of a half-life, best first.

        At most `LIST_DEPTH` of them. O(items): 0.5 ms for 40,000.
        """
        scores = self.counts(half)
        rows = np.flatnonzero(scores > 0)
        keys = self.items.keys[rows]
        best = strongest(scores[rows], keys, LIST_DEPTH)
        return np.asarray(keys[best[np.lexsort((keys[best], -scores[rows][best]))]])

    def promise(self, n: int) -> int:
        """Return the first n places' share of all that the served half-life counts.

        It is in PROMISE_ONE. It is how often a list is hit if the next clicks are like the last. 20 us for 40,000
        items.
        """
        scores = self.items["score"]
        total = int(scores.sum())
        listed = int(scores[self.leading_rows(n)].sum())
        return listed * PROMISE_ONE // total if total > 0 else 0

    def board(self, depth: int, now_ms: int) -> Board:
        """Return the best items of the served half-life, at most `LIST_DEPTH`.

        It sorts nothing, so it takes 10 us.
        """
        rows = self.leading_rows(depth)
        unit, fresh = self.unit(now_ms), self.fresh(now_ms)
        return Board([self.names[row] for row in rows], self.items["score"][rows], unit, fresh, self.network(now_ms))

    def counts(self, half: int = 0) -> NDArray[np.int64]:
        """Return the counts of all items for the half-life of that number, by row.

        See `names` for the rows. For the served half-life these are the scores.
        """
        if half == 0:
            return self.items["score"].copy()
        return decay.combine_all(self.items.data["counts"], len(self.items), half, self._epoch[half])

    def epoch(self, half: int = 0) -> int:
        """Return the epoch whose scale the counts of a half-life are on.

        On the scale of the next epoch a count is 2**-EPOCH_OCTAVES of that.
        """
        return int(self._epoch[half])

    def unit(self, now_ms: int, half: int = 0) -> int:
        """Return a full-weight act made now, on the scale of the counts of a half-life."""
        tick = now_ms * TICKS // int(self._half_ms[half])
        octave = (tick >> TICK_BITS) - int(self._epoch[half]) * EPOCH_OCTAVES
        return WEIGHT_ONE * int(POW[tick & (TICKS - 1)]) << octave

    def fresh(self, now_ms: int, half: int = 0) -> int:
        """Return the most that one act of an actor never seen before can add now.

        It is on the scale of `unit`.
        """
        return self.unit(now_ms, half) * self._trust.floor >> WEIGHT_BITS

    def network(self, now_ms: int, n_shards: int = 1) -> int:
        """Return the most that one more prefix of fresh actors can add to a score now.

        The prefix has one actor an address. With several shards, its actors are spread over them, and the result is
        for the sum of the shards' scores.
        """
        crowd = PREFIX_ACTORS * self.fresh(now_ms) // n_shards + 1
        capacity = crowd - count_kernels.excess_of(crowd, int(self._tables.knee[0]))
        return n_shards * (capacity + (capacity >> 20) + 2)  # more than the roundings add up to

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch.copy(), **self._tables.state()}

    def restore(self, state: dict[str, Any], now_ms: int) -> None:
        """Take the state that `state()` returned at stream time `now_ms`.

        Raises ValueError if it does not fit this configuration.
        """
        if state["epoch"].shape != self._epoch.shape or len(state["names"]) != len(state["items"]["keys"]):
            raise ValueError("the state is from a trend with other half-lives, or some of its names are missing")
        self._epoch[:] = state["epoch"]
        self._tables.restore(state)
        self.now_ms, self._next_epoch_ms, self._knee_slot = now_ms, 0, -1
        self._move_knees(now_ms)
        self._tables.weigh_all()
        self._tables.sort_leaders()
