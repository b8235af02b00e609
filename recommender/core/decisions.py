"""Decisions of people about events, and rules that leave events out of a fold.

    DecidedEvents  release | confirm | withhold some events. It takes effect in one recorded step, before its batch
    ExclusionRule  a filter on the log: a fold under it is the fold of a log that never held the excluded events

Both are part of the fold. A decision names acts by (actor, item), as units do. So all held events of a pair are
released or condemned together. A decision brings its events with it, because the Pipeline does not remember the
events it quarantined.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recommender.core.events import EventBatch
from recommender.core.state_versions import StateNewer
from recommender.core.vocabulary import Ruling

_NOBODY = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class DecidedEvents:
    """A ruling on events, which are in log order and keep their own times."""

    ruling: Ruling
    events: EventBatch

    def pairs(self) -> list[tuple[int, int]]:
        """Return the (actor, item) of each event."""
        return list(zip(self.events.actor.tolist(), self.events.item.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Window:
    """Acts on one item (0: on any) received from `from_ms` on and before `to_ms`."""

    item: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class ExclusionRule:
    """A rule that leaves events out of a fold.

    It excludes the events of `actors`, those from network `prefixes`, and those in `windows`.

    actors, prefixes: keys of the Pipeline's encoder, uint64.
    """

    actors: NDArray[np.uint64] = field(default_factory=_NOBODY.copy)
    prefixes: NDArray[np.uint64] = field(default_factory=_NOBODY.copy)
    windows: tuple[Window, ...] = ()

    def kept(self, batch: EventBatch) -> NDArray[np.bool_]:
        """Mark the events that stay, (n,).

        50 ns an event, plus 5 ns a window.
        """
        is_kept = ~_is_among(batch.actor, self.actors)
        if len(self.prefixes):
            is_kept &= ~_is_among(batch.prefix, self.prefixes)
        for window in self.windows:
            is_inside = (batch.received_ms >= window.from_ms) & (batch.received_ms < window.to_ms)
            is_kept &= ~(is_inside & ((batch.item == window.item) | (window.item == 0)))
        return is_kept

    def apply(self, batch: EventBatch) -> EventBatch:
        """Return the batch without the excluded events, or the same object if all stay."""
        is_kept = self.kept(batch)
        return batch if is_kept.all() else batch.take(np.flatnonzero(is_kept))

    def state(self) -> dict[str, Any]:
        """Return the rule as lists of integers, ready for JSON."""
        return {
            "actors": self.actors.tolist(),
            "prefixes": self.prefixes.tolist(),
            "windows": [[window.item, window.from_ms, window.to_ms] for window in self.windows],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the rule that `state()` was taken of, in this version or an earlier one.

        Raises StateNewer for a rule with a part that this version lacks: it would leave out too little.
        """
        if unknown := sorted(state.keys() - {"actors", "prefixes", "windows"}):
            raise StateNewer(
                f"the exclusion has parts that this version does not know: {', '.join(unknown)}. A newer version"
                " wrote it: upgrade this node"
            )
        return cls(
            np.array(state.get("actors", ()), np.uint64),
            np.array(state.get("prefixes", ()), np.uint64),
            tuple(Window(*each) for each in state.get("windows", ())),
        )


def _is_among(keys: NDArray[np.uint64], some: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mark the keys that are among some others, (n,).

    20 times as fast as np.isin for few among many.
    """
    if not len(some):
        return np.zeros(len(keys), np.bool_)
    ranked = np.sort(some)
    return np.asarray(ranked[np.minimum(np.searchsorted(ranked, keys), len(ranked) - 1)] == keys)
