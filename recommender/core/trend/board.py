"""A ranked list of the trend, with the scale of its counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Board:
    """A ranked list.

    items: best first.
    counts: of the items, as integers. On their scale an act made now adds `unit` at full trust.
    fresh: the most that an act adds by an actor never seen before.
    network: the most that a prefix full of such actors adds.
    """

    items: list[str]
    counts: NDArray[np.int64]
    unit: int
    fresh: int
    network: int

    @property
    def scores(self) -> NDArray[np.float64]:
        """Return the counts in units: one full-weight act made now = 1.0."""
        return self.counts / self.unit
