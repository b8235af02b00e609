"""Remove units that were counted, as if their acts had never been."""

import numpy as np
from numpy.typing import NDArray

from recommender.core.features.feature_columns import R_ORDINAL
from recommender.core.fold.pipeline_state import PipelineState
from recommender.core.fold.step_result import Revised
from recommender.core.vocabulary import QUARANTINE

# How far back the acts of a condemned crowd are removed. Older acts count for less than a sixteenth. Most of them
# would be by honest newcomers who read this one item and left.
TAKEN_BACK_HALF_LIVES = 4


def since_ms(state: PipelineState) -> int:
    """Return the stream time after which the acts of a condemned crowd are removed."""
    return state.stream_ms - 1000 * TAKEN_BACK_HALF_LIVES * state.config.half_lives_s[0]


def retract(state: PipelineState, ring_rows: NDArray[np.int64], reason: int, revisions: list[Revised]) -> int:
    """Remove the units of earlier acts, and add their new verdict to `revisions`.

    ring_rows: rows of the features' ring of recent acts. Returns how many units there were.
    """
    if not len(ring_rows):
        return 0
    keys = ring_rows[:, :2].astype(np.uint64)
    revisions.append(Revised.all(ring_rows[:, R_ORDINAL].copy(), QUARANTINE, reason))
    return take_out(state, np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1]))


def take_out(state: PipelineState, actors: NDArray[np.uint64], items: NDArray[np.uint64]) -> int:
    """Remove the units of these acts as if they had never been.

    Returns how many units there were.
    """
    state.affinity.retract(actors, items)
    return state.trend.retract(actors, items)
