"""Tables of affinity: histories, links and sources, and the eviction of rows.

    Affinity.learn ──take──> room for a batch ──> views, packed: the kernels work on these, and add rows to them
                                 past a bound? ──evict──> seven eighths of it, the newest or the strongest
    links ──derive──> the list of each source    made anew, never stored

`affinity` defines the meaning of links. Its docstring has the bounds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.affinity import affinity_columns, affinity_kernels, link_kernels
from recommender.core.affinity.affinity_columns import BLOCK, HISTORY, N_DERIVED, SHORT, Rhythm
from recommender.core.memory import zeros
from recommender.core.tables import Table
from recommender.core.tables.decay import N_EPOCHS, combine_all
from recommender.core.tables.hashing import MAX_ROWS, find_all
from recommender.core.tables.table import KEPT_AT_EVICTION, strongest


class AffinityTables:
    """All tables of an affinity, with their bounds.

    rhythm: times and weights of links. Its epoch is an array that the affinity shares.
    bounds: rows at most of "histories", "links" and "sources".

    forgotten_ms: the newest unit of the histories that were evicted, or -1.
    lists: the lists of sources, by the fields of `affinity_columns.Sources`.
    views, packed: the tables as kernels take them, and their fields. They are valid until the next write.
    """

    def __init__(self, rhythm: Rhythm, bounds: dict[str, int]) -> None:
        self._rhythm = rhythm
        self._most = {name: min(most, MAX_ROWS // 2) for name, most in bounds.items()}
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
        self.lists = _new_lists(0)
        self.forgotten_ms = -1
        self._see()

    def take(self, n: int, n_links: int) -> None:
        """Make room for n units and their links."""
        grown = [
            self.histories.reserve(n, self._let_go),
            self.longer.reserve(n, self._let_go),
            self.links.reserve(n_links, self._let_go),
            self.sources.reserve(n_links + n, self._let_go),
            self._reserve_blocks(int(self.lists["n_used"][0]) + n_links),
        ]
        if any(grown):
            self._see()

    def turn(self, epoch: int) -> None:
        """Move to an epoch, and drop the counts of past epochs and empty links."""
        for passed in range(max(int(self._rhythm.epoch[0]), epoch - N_EPOCHS) + 1, epoch + 1):
            self.links["counts"][:, 0, passed % N_EPOCHS] = 0
            self.links["actors"][:, passed % N_EPOCHS] = 0
            self.sources["counts"][:, 0, passed % N_EPOCHS] = 0
        self._rhythm.epoch[0] = epoch
        is_empty = ~(self.links["counts"].any(axis=(1, 2)) | self.links["actors"].any(axis=1))
        self.links.keep(np.flatnonzero(~is_empty))
        self._keep_sources()
        self.derive()

    def derive(self) -> None:
        """Make the lists of all sources anew."""
        if self._reserve_blocks(len(self.sources) + len(self.links) // BLOCK, is_emptied=True):
            self._see()
        link_kernels.derive(self.views[1], self.views[2], int(self._rhythm.epoch[0]))

    def evict(self) -> None:
        """Cut every table that has passed its bound back to seven eighths of it."""
        histories, links, sources = self.histories, self.links, self.sources
        if len(histories) > self._most["histories"]:
            last_ms = affinity_kernels.last_times(self.views[0], self.views[4])
            kept = strongest(last_ms, histories.keys[: len(histories)], _kept(self._most["histories"]))
            is_kept = np.zeros(len(histories), np.bool_)
            is_kept[kept] = True
            self.forgotten_ms = max(self.forgotten_ms, int(last_ms[~is_kept].max()))
            histories.keep(kept)
            longer = self.longer
            has_history = find_all(histories.slots, histories.keys, longer.keys[: len(longer)]) >= 0
            longer.keep(np.flatnonzero(has_history))
        is_cut = len(sources) > self._most["sources"]
        if is_cut:
            worth = combine_all(sources.data["counts"], len(sources), 0, int(self._rhythm.epoch[0]))
            sources.keep(strongest(worth, sources.keys[: len(sources)], _kept(self._most["sources"])))
            links.keep(np.flatnonzero(link_kernels.rows_of_sources(self.views[1], self.views[2]) >= 0))
        if len(links) > self._most["links"]:
            links.keep(strongest(self.counts(), links.keys[: len(links)], _kept(self._most["links"])))
            is_cut = True
        if is_cut:
            self.derive()

    def counts(self) -> NDArray[np.int64]:
        """Return the counts of all links, by row."""
        return combine_all(self.links.data["counts"], len(self.links), 0, int(self._rhythm.epoch[0]))

    def state(self) -> dict[str, Any]:
        return {
            "forgotten_ms": self.forgotten_ms,
            "histories": self.histories.state(),
            "longer": self.longer.state(),
            "links": self.links.state(),
            "sources": self.sources.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`, after the epoch.

        Raises ValueError if it does not fit.
        """
        self.forgotten_ms = state["forgotten_ms"]
        for name in ("histories", "longer", "links", "sources"):
            getattr(self, name).restore(state[name])
        self._see()
        self.derive()

    def _let_go(self) -> None:
        """Drop the views, which would keep each replaced array, until `_see`."""
        self.__dict__.pop("views", None)
        self.__dict__.pop("packed", None)

    def _see(self) -> None:
        self.views = (
            affinity_columns.Histories(**self.histories.arrays),
            affinity_columns.Links(**self.links.arrays),
            affinity_columns.Sources(**self.sources.arrays, **self.lists),
            self._rhythm,
            affinity_columns.Longer(**self.longer.arrays),
        )
        self.packed = tuple(tuple(view) for view in self.views)

    def _reserve_blocks(self, needed: int, *, is_emptied: bool = False) -> bool:
        """Make room for blocks of lists, and return True if the arrays are new ones.

        is_emptied: the present lists are made anew anyway, so they are not kept.
        """
        if needed * BLOCK <= len(self.lists["amount"]):
            return False
        self._let_go()
        grown = _new_lists(needed + needed // 8)
        n_used = 0 if is_emptied else int(self.lists["n_used"][0])
        grown["n_used"][0] = n_used
        for name in ("target", "amount", "linked"):
            grown[name][: n_used * BLOCK] = self.lists[name][: n_used * BLOCK]
            self.lists[name] = grown[name]
        self.lists["n_used"] = grown["n_used"]
        return True

    def _keep_sources(self) -> None:
        """Drop sources that have neither links nor counts."""
        rows = link_kernels.rows_of_sources(self.views[1], self.views[2])
        has_links = np.zeros(len(self.sources), np.bool_)
        has_links[rows] = True
        self.sources.keep(np.flatnonzero(has_links | self.sources["counts"].any(axis=(1, 2))))


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
