"""Ranking by learned weights: what a web process needs of the ranker, and no more. No River here.

    features of the candidates ──> logits (order, fixed order of sums) ──> the list;  probabilities (to show)

The weights are `Ranker.export()`'s. A logit is computed as River computes it, number by number in the same order, so
that the list a reader gets is the list the learner judged, to the last bit and on every machine: sums in an order
that a library chose by the processor would decide ties differently. 200 candidates of a dozen features: 5 us.

Lists that were put to readers come as `CandidateLists`: many candidate matrices under each other.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE

CLIP = 4.0  # standard deviations; what is further out counts as that far
HUGE = 1e6  # no feature is as large; past it squares lose the digits that the mean needs

Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]
Int8s = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Weights:
    """mean, scale (standard deviations, 0 = the feature never varied and is left out), coefficients: float64
    (features,); intercept: the logit of a candidate that is average in all."""

    mean: Float64s
    scale: Float64s
    coefficients: Float64s
    intercept: float

    def logits(self, features: Float64s) -> Float64s:
        """The log odds of a click, float64 (n,), of features (n, d). To order by."""
        rows = np.ascontiguousarray(features, np.float64)
        return logits(rows, self.mean, self.scale, self.coefficients, self.intercept)

    def probabilities(self, features: Float64s) -> Float64s:
        """The same as probabilities, float64 (n,), in (0, 1). To show: the last digit is the machine's."""
        return np.asarray(1.0 / (1.0 + np.exp(-self.logits(features))))


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """Candidates as they were put to readers, list under list.

    features: float64 (rows, d); offsets: int64 (n + 1,), list i has the rows offsets[i]:offsets[i + 1]; clicked: the
    place of the clicked candidate within its list, int64 (n,), -1 where it was not among them; actor: keys, uint64
    (n,); weight: what the actor's act weighs, int64 (n,), 0 to WEIGHT_ONE."""

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
        """With the number of candidates a list. Raises ValueError for what cannot be learned from: numbers that are
        not finite or huge, a click outside its list, a weight no act can have."""
        lists = cls(
            np.ascontiguousarray(features, np.float64),
            np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))]),
            np.asarray(clicked, np.int64),
            np.asarray(actor, np.uint64),
            np.asarray(weight, np.int64),
        )
        n, sizes = len(lists.clicked), np.diff(lists.offsets)
        if lists.features.ndim != 2 or not len(sizes) == len(lists.actor) == len(lists.weight) == n:
            raise ValueError("lists need a matrix of features, and as many sizes, clicks, actors and weights")
        if (sizes < 0).any() or lists.offsets[-1] != len(lists.features):
            raise ValueError("the sizes of the lists do not add up to the rows there are")
        if not (np.abs(lists.features) <= HUGE).all():  # NaN is not <= anything
            raise ValueError("a feature is not a number, infinite or huge")
        if (lists.clicked < -1).any() or (lists.clicked >= sizes).any():
            raise ValueError("a click is outside its list")
        if (lists.weight < 0).any() or (lists.weight > WEIGHT_ONE).any():
            raise ValueError("a weight is outside 0 to 1")
        return lists


@njit(cache=True)
def logits(rows: Float64s, mean: Float64s, scale: Float64s, coefficients: Float64s, intercept: float) -> Float64s:
    """See `Weights.logits`; the operations of the scaler and of the regression in `click_model`, in their order."""
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
    """The place (1..PLACES) of each list's clicked candidate by each column of scores (rows, m), int8 (n, m);
    PLACES + 1 where it is none. Of equal scores the earlier row stands first."""
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
