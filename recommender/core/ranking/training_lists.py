"""Lessons: the ranker's features of a candidate, and the lists it learns from.

    acts, before they are learned ──Ranker.choose──> a few ──Ranking.gather_many──> candidates ──> Lists

A fixed blend adds two shares. Where one share is much larger than the other, it alone decides, and the right weights
differ by site. So the ranker sees logarithms, which a logistic regression weighs as powers. It sees the logarithm of
the blend, and the other features as ratios, most of them to the blend. A click is likelier the larger the blend is.
The model then puts this effect into the blend's coefficient, which changes no order. It does not go into the
coefficients of all features that grow with the blend.

The gain by site is HR@20 and MRR@20 of the trend, the blend and the ranker. They are measured on the lists that the
ranker learned from, each before it was learned, without the first quarter:

    article portal, 7,132 lists                  0.660 0.258    0.659 0.253    0.740 0.306
    news, first 400,000 clicks, 24,233 lists     0.764 0.344    0.787 0.364    0.786 0.362
    baskets, first 250,000 rows, 5,828 lists     0.089 0.022    0.132 0.052    0.133 0.051

The blend's shares were tuned on the news log, and on that log the contest serves the blend. Learning from pairs of a
clicked and an unclicked candidate gave less than learning from clicks. Of the unclicked candidates, an even sample
teaches more than the first places. The first places alone never show how good the first places are.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.ranking.candidates import FEATURES, Candidates, Ranking
from recommender.core.ranking.list_scores import CandidateLists, Float64s, Int64s
from recommender.core.tables.decay import log2
from recommender.core.tables.hashing import UInt64s, find, mix
from recommender.core.trend import Trend
from recommender.core.trend.trend_columns import PANEL, Events
from recommender.core.trust import WEIGHT_BITS, WEIGHT_ONE, TrustRules

# The columns of `learned`, float64. Logarithms are to the base 2.
NAMES = (
    "trend",  # the share of the board's mass
    "slow_trend",  # the score of the next half-life, as a part of the highest, over that share
    "long_trend",  # the same by the last half-life
    "affinity",
    "affinity_last",  # of the last item alone, over that of all
    "blend",  # the fixed blend, which is served without a ranker
    "blend_low",  # the blend with a fifth of its affinity, over the blend
    "blend_high",  # the blend with five times its affinity, over the blend
    "blend_last",  # the blend with the affinity of the last item alone, over the blend
    "support",  # actors behind the best supported link
    "is_neighbour",
)
TREND, BLEND = "trend", "blend"
LEAST = 1e-3  # a share this small counts as none
LEAST_LINK = 1e-2
_LAST, _AFFINITY = FEATURES.index("affinity_last"), FEATURES.index("affinity")
_SLOW, _LONG = FEATURES.index("slow_trend"), FEATURES.index("long_trend")
_SUPPORT, _IS_NEIGHBOUR = FEATURES.index("support"), FEATURES.index("is_neighbour")


def learned(candidates: Candidates, blend: float) -> Float64s:
    """Return the ranker's features of candidates, float64 (n, len(NAMES)).

    blend: of `RankingConfig`.
    """
    return columns(candidates.features, candidates.scores, blend)


@njit(cache=True)
def columns(features: Float64s, scores: Float64s, blend: float) -> Float64s:
    """Compute the result of `learned`."""
    out = np.empty((features.shape[0], 11))
    for i in range(features.shape[0]):
        affinity, last = features[i, _AFFINITY], features[i, _LAST]
        share = max(scores[i] - blend * affinity, 0.0)
        of_share, of_affinity = log2(share + LEAST), log2(affinity + LEAST_LINK)
        of_blend = log2(max(scores[i], 0.0) + LEAST)
        out[i, 0] = of_share
        out[i, 1] = max(features[i, _SLOW], -10.0) - of_share
        out[i, 2] = max(features[i, _LONG], -10.0) - of_share
        out[i, 3] = of_affinity
        out[i, 4] = log2(last + LEAST_LINK) - of_affinity
        out[i, 5] = of_blend
        out[i, 6] = log2(share + blend * affinity / 5.0 + LEAST) - of_blend
        out[i, 7] = log2(share + blend * affinity * 5.0 + LEAST) - of_blend
        out[i, 8] = log2(share + blend * last + LEAST) - of_blend
        out[i, 9] = features[i, _SUPPORT]
        out[i, 10] = features[i, _IS_NEIGHBOUR]
    return out


def weigh_lessons(
    events: Events, personal: NDArray[np.int8], trend: Trend, rules: TrustRules, panel: UInt64s
) -> Int64s:
    """Return the weight with which each act may be learned, in WEIGHT_ONE, int64 (n,).

    It follows from the trust that its actor has earned before. It is 0 unless the act is a first act on an item
    (those have a place, however bad), and 0 for canaries.
    """
    earned = trend.actors.data["earned"]
    slots, keys = trend.actors.slots, trend.actors.keys
    return _weigh(events.actor, events.weight, personal, slots, keys, earned, rules.floor, rules.full, panel)


@njit(cache=True)
def _weigh(
    actor: UInt64s,
    weight: NDArray[np.int32],
    personal: NDArray[np.int8],
    slots: NDArray[np.uint32],
    keys: UInt64s,
    earned: NDArray[np.int16] | NDArray[np.int32],
    floor: int,
    full: int,
    panel: UInt64s,
) -> Int64s:
    out = np.zeros(actor.size, np.int64)
    for i in range(actor.size):
        if weight[i] > 0 and personal[i] and mix(actor[i], PANEL) >= panel[0]:
            row = find(slots, keys, actor[i])
            trust = floor if row < 0 else floor + (WEIGHT_ONE - floor) * np.int64(earned[row]) // full
            out[i] = np.int64(weight[i]) * trust >> WEIGHT_BITS
    return out


def lists_of(
    ranking: Ranking, events: Events, rows: Int64s, weight: Int64s, steady: UInt64s, now_ms: int
) -> CandidateLists:
    """Return the lists that actors would have been shown when they acted.

    rows: the acts. Call this before the batch is learned. An actor's earlier acts of the same batch are known.
    """
    found = ranking.gather_many(events, rows, now_ms, steady=steady)
    clicked = np.full(len(rows), -1, np.int64)
    places = np.flatnonzero(found.keys == events.item[rows][found.of_list])
    lists = found.of_list[places]
    sizes = np.diff(found.ends, prepend=0)
    clicked[lists] = places - (found.ends - sizes)[lists]
    features = columns(found.features, found.scores, ranking.config.blend)
    return CandidateLists.of(features, sizes, clicked, events.actor[rows], weight[rows])
