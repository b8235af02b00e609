"""Lessons for a ranker: lists whose readers click by known tastes."""

import numpy as np

from recommender.core.ranking import Ranker
from recommender.core.ranking.bypass import ContestConfig
from recommender.core.ranking.list_scores import CandidateLists
from recommender.core.ranking.ranker import RankerConfig
from recommender.core.trust import WEIGHT_ONE
from tests.help.streams import MINUTE, T0

NAMES = ("trend", "blend", "good", "bad", "noise")
TASTES = (0.0, 0.5, 2.0, -2.0, 0.0)  # readers click by these weights of the features
CONFIG = RankerConfig(learning_rate=0.02, trust_per_h=1e6)
CONTEST = ContestConfig(memory=100, warm=20)
FRESH = WEIGHT_ONE // 20
N_CANDIDATES = 40


def new(config=CONFIG):
    return Ranker(config, CONTEST, NAMES, trend="trend", blend="blend")


def lists(n, *, seed, tastes=TASTES, weight=WEIGHT_ONE, first_actor=0, size=N_CANDIDATES):
    """Return the lists shown to n different actors, who clicked by their tastes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n * size, len(NAMES)))
    wishes = features @ np.array(tastes) + rng.gumbel(size=n * size)
    clicked = wishes.reshape(n, size).argmax(axis=1)
    actors = np.arange(first_actor, first_actor + n) * 0x9E3779B9 + seed
    return CandidateLists.of(features, [size] * n, clicked, actors, np.full(n, weight))


def teach(ranker, *, n_steps=30, n=10, seed=1, start_ms=T0, **how):
    for step in range(n_steps):
        ranker.learn(lists(n, seed=1000 * seed + step, first_actor=n * step, **how), start_ms + step * MINUTE)
    return ranker


def acts(n, *, seed=1, n_actors=None):
    """Return the actors and the items of n acts."""
    rng = np.random.default_rng(seed)
    actor = rng.integers(1, 2**63, n).astype(np.uint64)
    if n_actors:
        actor = actor[rng.integers(0, n_actors, n)]
    return actor, rng.integers(1, 2**63, n).astype(np.uint64)
