"""Order candidates by learned weights, in any process and without River.

    features of the candidates ──> logits (order, fixed order of sums) ──> the list;  probabilities (to show)

This is all that a web process needs of the ranker. The weights come from `Ranker.export()`. A logit is computed as
River computes it, number by number in the same order. So the list that a reader gets is the list that the learner
judged, to the last bit and on every machine. A library may choose the order of sums by the processor, which would
decide ties differently.

Lists that were shown to readers come as `CandidateLists`, many candidate matrices one below the other.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE

CLIP = 4.0  # standard deviations; values further out are clipped to this
HUGE = 1e6  # bound of a feature; beyond it squares lose the digits that the mean needs

Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]
Int8s = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the learned order.

    mean, scale, coefficients: float64 (features,). scale is in standard deviations, and 0 means that the feature
    never varied and is skipped.
    intercept: the logit of a candidate that is average in all features.
    """

    mean: Float64s
    scale: Float64s
    coefficients: Float64s
    intercept: float

    def logits(self, features: Float64s) -> Float64s:
        """Return the log odds of a click, float64 (n,), of features (n, d), to order by."""
        rows = np.ascontiguousarray(features, np.float64)
        return logits(rows, self.mean, self.scale, self.coefficients, self.intercept)

    def probabilities(self, features: Float64s) -> Float64s:
        """Return the probabilities of a click, float64 (n,), in (0, 1).

        They are for display: the last digit may differ between machines.
        """
        return np.asarray(1.0 / (1.0 + np.exp(-self.logits(features))))


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """Candidates as they were shown to readers, one list below the other.

    features: float64 (rows, d).
    offsets: int64 (n + 1,), list i has the rows offsets[i]:offsets[i + 1].
    clicked: the place of the clicked candidate within its list, int64 (n,), -1 where it was not among them.
    actor: keys, uint64 (n,).
    weight: of the actor's act, int64 (n,), 0 to WEIGHT_ONE.
    """

    features: Float64s
    offsets: Int64s
    clicked: Int64s
    actor: NDArray[np.uint64]
    weight: Int64s

    def __len__(self) -> int:
        return len(self.clicked)

    @classmethod
    def of(
        cls, features: ArrayLike, sizes: ArrayLike, clicked: ArrayLike, actor: ArrayLike, weight: ArrayLike
    ) -> Self:
        """Build lists from the number of candidates in each.

        Raises ValueError for lists that cannot be learned: features that are not finite or huge, a click outside its
        list, or a weight that no act can have.
        """
        lists = cls(
            np.ascontiguousarray(features, np.float64),
            np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))]),
            np.asarray(clicked, np.int64),
            np.asarray(actor, np.uint64),
            np.asarray(weight, np.int64),
        )
        n, sizes = len(lists.clicked), np.diff(lists.offsets)
        if lists.features.ndim != 2 or not len(sizes) == len(lists.actor) == len(lists.weight) == n:
            raise ValueError("lists need a matrix of features, and one size, click, actor and weight per list")
        if (sizes < 0).any() or lists.offsets[-1] != len(lists.features):
            raise ValueError("the sizes of the lists do not add up to the number of rows")
        if not (np.abs(lists.features) <= HUGE).all():  # NaN is not <= any number
            raise ValueError(f"a feature is not a number, infinite or huge (above {HUGE:g})")
        if (lists.clicked < -1).any() or (lists.clicked >= sizes).any():
            raise ValueError("a click is outside its list")
        if (lists.weight < 0).any() or (lists.weight > WEIGHT_ONE).any():
            raise ValueError(f"a weight is outside 0 to 1 (0 to {WEIGHT_ONE})")
        return lists


@njit(cache=True)
def logits(rows: Float64s, mean: Float64s, scale: Float64s, coefficients: Float64s, intercept: float) -> Float64s:
    """Return `Weights.logits`, by the operations of `click_model` in their order."""
    out = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        total = 0.0
        for k in range(mean.size):
            value = 0.0
            if scale[k] > 0.0:
                value = min(max((rows[i, k] - mean[k]) / scale[k], -CLIP), CLIP)
            total += coefficients[k] * value
        out[i] = total + intercept
    return out


@njit(cache=True)
def find_places(scores: Float64s, offsets: Int64s, clicked: Int64s) -> Int8s:
    """Return the place (1..PLACES) of each list's click by each column of scores.

    scores: (rows, m). The result is int8 (n, m), PLACES + 1 for a click further down or outside the list. Of equal
    scores the earlier row comes first.
    """
    places = np.empty((clicked.size, scores.shape[1]), np.int8)
    for i in range(clicked.size):
        first, end, at = offsets[i], offsets[i + 1], offsets[i] + clicked[i]
        for k in range(scores.shape[1]):
            place = 1 if clicked[i] >= 0 else PLACES + 1
            for row in range(first, end):
                if place > PLACES:
                    break
                place += scores[row, k] > scores[at, k] or (scores[row, k] == scores[at, k] and row < at)
            places[i, k] = place
    return places
