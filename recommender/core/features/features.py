"""Features: each event compared with the events before it, as numbers in [0, 1].

    batch ──> feature_kernels.observe ──> matrix (n, N_FEATURES) and flags (n,), one row an event
                    │
                    └── actors, (actor, item), items, links (item or site x prefix or agent), bursts, a ring of acts

0 means nothing against the event. Unknown is neutral: without session, address, user agent or referrer, their
features stay 0. A share is compared with the rest of the site's. So a site of newcomers, or one behind a single
proxy, is no anomaly.

**Crowds.** A newcomer is an actor on its first three items, within an hour of its first act. The evidence against a
crowd of newcomers is in feature_windows.evidence_of. Each sign is a share of the window's clickers, compared with the
same share of the rest of the site's. It must exceed that share by a margin and by five deviations.

**Lockstep.** In recorded attacks the signal is not busy accounts, but accounts that appear together again (see the
module lockstep). It costs O(1) an event for groups of any size. A memory of pairs, kept for 32 co-clickers a minute,
would see a fifth of the pairs of 300 accounts, and less of larger groups.

**Rows that no longer matter** are dropped when an hour of stream time turns. These are links whose count has decayed
to nothing, and sketches of actors that are young no longer. Other rows matter for good, also those of an actor that
came once. Without its row an actor that comes back would be a newcomer again, and without its pair an item it knows
would be new to it. Both are what crowds are found by. An item's row remembers how regular its arrivals were, and a
site's link with a prefix since when the prefix is known.

**Bounds.** Rows by table: `max_actors`, `max_pairs`, `max_items`, `max_links`, MAX_LIVE, MAX_BURSTS. The rows longest
silent go first, an eighth at a time. Members and sketches are at most as many as actors, bands as items, and go with
them. The last `max_recent` first acts are remembered, so that they can be removed
when a cohort is exposed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.features import feature_columns as fk
from recommender.core.features import feature_kernels as kernels
from recommender.core.features import feature_queries as queries
from recommender.core.features.feature_windows import evidence_of
from recommender.core.tables import Table
from recommender.core.tables.hashing import MAX_ROWS, find_all, pair_keys
from recommender.core.tables.table import KEPT_AT_EVICTION, strongest
from recommender.core.vocabulary import HOUR_MS

Plain = tuple[Any, ...]
MAX_LIVE = 4096
MAX_BURSTS = 65_536
_STAMPS = {"actors": fk.A_LAST, "items": fk.I_LAST, "links": fk.L_LAST, "live": fk.V_LAST, "bursts": fk.B_START}
SKETCH_MS = 2 * fk.YOUNG_MS  # how long a sketch is kept. An hour would do if no clock ever ran back
_NEVER = -1


def _matrix(width: int) -> dict[str, Any]:
    return {"c": (np.int64, (width,))}


_COLUMNS: dict[str, dict[str, Any]] = {
    "actors": {**_matrix(fk.N_ACTOR), "counts": (np.int32, (fk.N_COUNTS,))},
    "pairs": {"last_ms": (np.int64, ()), "n": (np.int32, ()), "mark": (np.int8, ())},
    "items": _matrix(fk.N_ITEM),
    "links": _matrix(fk.N_LINK),
    "live": _matrix(fk.N_LIVE),
    "bursts": _matrix(fk.N_BURST),
    "members": _matrix(fk.N_MEMBER),
    "sketches": _matrix(fk.N_SKETCH),
    "bands": _matrix(fk.N_BANDS),
}
_PARTS = {"members": "actors", "sketches": "actors", "bands": "items"}  # tables of rows that another table has too


class Features:
    """The features' memory, see the module.

    `observe` enters events. A few other methods mark or remove acts.
    """

    def __init__(self, *, max_actors: int, max_pairs: int, max_items: int, max_links: int, max_recent: int) -> None:
        self._max = {"actors": max_actors, "pairs": max_pairs, "items": max_items, "links": max_links}
        self._max |= {"live": MAX_LIVE, "bursts": MAX_BURSTS}
        self._max = {name: min(most, MAX_ROWS // 2) for name, most in self._max.items()}
        self.tables = {name: Table(columns) for name, columns in _COLUMNS.items()}
        self._in_order = [(self.tables[name], self._max[name]) for name in self._max]
        self.site = np.zeros((1, fk.N_SITE), np.int64)
        self.ring = np.zeros((max_recent, fk.N_RING), np.int64)
        self._ring_size = np.zeros(1, np.int64)
        self._room = 0  # events that fit before a table must grow or be cut
        self._swept_hour = _NEVER  # of stream time, when rows that no longer matter were last dropped
        self._see_tables()

    def advance(self, now_ms: int) -> None:
        """Move to stream time, and drop rows that no longer matter when an hour turns."""
        hour = now_ms // HOUR_MS
        if hour <= self._swept_hour:
            return
        self._swept_hour = hour
        links, sketches = self.tables["links"], self.tables["sketches"]
        links.keep(queries.links_that_matter(self._views[3], now_ms))
        sketches.keep(np.flatnonzero(sketches["c"][:, fk.K_FIRST_MS] > now_ms - SKETCH_MS))
        self._room = 0

    def observe(
        self, acts: Plain, trusted: Plain, rules: Plain, limits: Plain, ordinal: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int32], int]:
        """Enter a batch, and return features, flags, and the number of events to decide.

        ordinal: the number of the batch's first event in the fold.
        acts, trusted, rules, limits: the fields of fk.Acts, Actors, TrustRules and fk.Limits.
        """
        n = len(acts[0])
        if n > self._room:
            self._make_room(n)
        self._room -= n
        out = np.zeros((n, fk.N_FEATURES))
        flags = np.zeros(n, np.int32)
        memory = (*self._packed, self.site, self.ring, self._ring_size)
        n_flagged = kernels.observe_packed(acts, memory, trusted, rules, limits, ordinal, out, flags)
        return out, flags, n_flagged

    def take_exposed(self, since_ms: int) -> NDArray[np.int64]:
        """Return the recent acts in bursts by cohorts seen since a time.

        They are rows of the ring, which forgets them.
        """
        n = min(int(self._ring_size[0]), len(self.ring))
        return self._taken(queries.exposed_in(self.ring, n, self._members, since_ms))

    def take_crowd(self, item: np.uint64, since_ms: int, from_nth: int) -> NDArray[np.int64]:
        """Return the recent acts of newcomers on an item since a time.

        from_nth: only where the item was their item of that number or a later one (1: their first). 0: only acts of
        those who went nowhere after.

        They are rows of the ring, which forgets them.
        """
        n = min(int(self._ring_size[0]), len(self.ring))
        return self._taken(queries.lonely_in(self.ring, n, self._views[0], item, since_ms, from_nth))

    def evidence(self, row: int, limits: fk.Limits) -> int:
        """Return the evidence about the crowd of the item in that row of `windows`.

        See feature_windows.evidence_of.
        """
        return int(evidence_of(self.windows[row], self.site[0], limits))

    def is_wide(self, item: np.uint64, now_ms: int) -> bool:
        """Return True if an item's crowd belongs to a surge that went elsewhere too.

        See feature_queries.is_wide.
        """
        n = min(int(self._ring_size[0]), len(self.ring))
        return bool(queries.is_wide(self.ring, n, self._views[0], item, now_ms))

    def shun(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        """Mark that these actors' acts on these items were condemned.

        More acts of theirs there are `IS_SHUNNED`.
        """
        queries.mark_pairs(self._views[1], actors, items, fk.IS_CONDEMNED)

    def forget_acts(self, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        """Let no later evidence remove these acts.

        They leave the ring, and their actors leave their cohorts.
        """
        queries.forget_acts(actors, items, self._members, self.ring, min(int(self._ring_size[0]), len(self.ring)))
        queries.mark_pairs(self._views[1], actors, items, fk.UNMARKED)

    def forget(self, actor: np.uint64, items: NDArray[np.uint64]) -> None:
        """Drop every row of an actor.

        These are its own row, its rows with any of these items or any known here, and its acts in the ring. Its part
        in the windows of items and in links fades there.
        """
        pairs = self.tables["pairs"]
        known = np.union1d(items, self.tables["items"].keys[: len(self.tables["items"])])
        pairs.keep(np.flatnonzero(~np.isin(pairs.keys[: len(pairs)], pair_keys(actor, known))))
        for table in (self.tables[name] for name in ("actors", "members", "sketches")):
            table.keep(np.flatnonzero(table.keys[: len(table)] != actor))
        theirs = self.ring[:, fk.R_ACTOR] == actor.astype(np.int64)
        self.ring[theirs] = 0
        self.ring[theirs, fk.R_ORDINAL] = -1

    def expose(self, actors: NDArray[np.uint64], now_ms: int) -> None:
        """Mark actors as a cohort seen at stream time, as far as they are still known."""
        if self.tables["members"].reserve(len(actors), self._let_go):
            self._see_tables()
        self._room = 0
        queries.mark_cohort(self._views[0], self._members, actors, now_ms)

    def item_rows(self, items: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the rows of items in `windows`, int64 (n,), -1 for forgotten items."""
        views = self._views[2]
        return np.asarray(find_all(views.slots, views.keys, items))

    @property
    def windows(self) -> NDArray[np.int64]:
        """Return the counts of items, (rows, N_ITEM), by the columns of feature_columns."""
        return np.asarray(self._views[2].c)

    def items_of(self, actors: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Count the different items each of these actors has acted on."""
        return queries.items_of(self._views[0], actors)

    def return_rates(self) -> tuple[float, float]:
        """Return the shares of newcomers that went on to another item within a hold.

        The first is of those at their first item, the second of all the site's newcomers.
        """
        site = self.site[0]
        first = site[fk.S_RETURNED24H] / max(1, int(site[fk.S_BEGUN24H]))
        return min(1.0, float(first)), min(1.0, float(site[fk.S_WENTON24H] / max(1, int(site[fk.S_YOUNG24H]))))

    def state(self) -> dict[str, Any]:
        n = min(int(self._ring_size[0]), len(self.ring))
        return {
            **{name: table.state() for name, table in self.tables.items()},
            "site": self.site.copy(),
            "ring": self.ring[:n],
            "ring_size": int(self._ring_size[0]),
            "swept_hour": self._swept_hour,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state that `state()` returned.

        Raises ValueError if it does not fit.
        """
        ring = state["ring"]
        n = len(ring)
        if state["site"].shape != self.site.shape or n != min(state["ring_size"], len(self.ring)):
            raise ValueError("the state is from another version of the features")
        for name, table in self.tables.items():
            table.restore(state[name])
        self.site[:] = state["site"]
        self.ring[:n] = ring
        self._ring_size[0] = state["ring_size"]
        self._swept_hour = state["swept_hour"]
        self._room = 0
        self._see_tables()

    def _taken(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = self.ring[places]
        self.ring[places, fk.R_ORDINAL] = -1
        return rows

    def _make_room(self, n: int) -> None:
        is_new = False
        room = len(self.ring)
        for table, most in self._in_order:
            if len(table) > most:
                self._evict()
            rows = 4 if table is self.tables["links"] else 1  # rows of an event, at most
            is_new |= table.reserve(rows * n, self._let_go)
            room = min(room, min(table.room, most - len(table)) // rows)
        for name, whole in _PARTS.items():
            part = self.tables[name]  # whose rows the other table has too, or gets in this batch
            is_new |= part.reserve(len(self.tables[whole]) + max(room, n) - len(part), self._let_go)
        if is_new:
            self._see_tables()
        self._room = room

    def _evict(self) -> None:
        cut = {name for name, most in self._max.items() if len(self.tables[name]) > most}
        for name, table in self.tables.items():
            if name in cut:
                stamps = table["last_ms"] if name == "pairs" else table["c"][:, _STAMPS[name]]
                kept = int(self._max[name] * KEPT_AT_EVICTION)
                table.keep(strongest(stamps, table.keys[: len(table)], kept))
        for name, whole in _PARTS.items():
            if whole not in cut:
                continue
            part, rows = self.tables[name], self.tables[whole]
            part.keep(np.flatnonzero(find_all(rows.slots, rows.keys, part.keys[: len(part)]) >= 0))

    def _let_go(self) -> None:
        """Drop the views, which would keep each replaced array, until `_see_tables`."""
        for name in ("_packed", "_views", "_members"):
            self.__dict__.pop(name, None)

    def _see_tables(self) -> None:
        """Make the views that the kernels work on. They are valid until a table grows."""
        self._packed = tuple(tuple(table.arrays.values()) for table in self.tables.values())
        kinds: Any = {"actors": fk.ActorRows, "pairs": fk.PairRows}  # for a kernel, NumPy's types accept anything
        self._views: Any = tuple(
            kinds.get(name, fk.FeatureRows)(*each) for name, each in zip(self.tables, self._packed, strict=True)
        )
        self._members = self._views[list(self.tables).index("members")]


def acts_of(batch: EventBatch) -> Plain:
    """Return the columns that features are made of, in the order of fk.Acts."""
    return (
        batch.received_ms,
        batch.actor,
        batch.item,
        batch.kind,
        batch.session,
        batch.prefix,
        batch.agent,
        batch.referrer,
        (~batch.is_automated).view(np.int8),
    )
