"""The shadow model, which learns the list there would be without a defence.

    batch ──> weights of kinds ──> Trend without trust and networks ──> the list an attacker hopes for

It learns next to the Pipeline, from the same batches. `learning.shadow_learner` keeps one next to a shard's learner.
The scope SHADOW of the published boards holds its list. `monitoring.shadow_board` compares that list with the served
one.

Every actor counts in full from its first act on. Nothing is held, judged or discounted by network. Units and budgets
stay, because counting works with them, and without them one loop in a script is the whole attack. It has the served
half-life only, no countries and no evaluation.

It is no part of the state. No fold, digest or checkpoint contains it. The process that keeps one makes it anew from
the last half-lives of the log. Its own tables bound it, at an eighth of the Pipeline's for the default bounds.
"""

from dataclasses import replace

import numpy as np

from recommender.core.events import EventBatch
from recommender.core.fold.step_kernels import weigh
from recommender.core.pipeline import Config
from recommender.core.quality import Evaluation
from recommender.core.screen.screen import admitted
from recommender.core.trend import Trend
from recommender.core.trend.trend_columns import Events
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import Kind

NO_KNEE = 1e6  # units, so that no network is over its knee
MAX_ITEMS, MAX_PAIRS, MAX_ACTORS = 50_000, 500_000, 250_000
WARM_HALF_LIVES = 6  # after which 2 % of a count is left
_NO_CAP = np.empty(0, np.int32)


class Shadow:
    """A trend without a defence.

    config: the defended Pipeline's. `trend`, `stream_ms` and `config` are read as a Pipeline's are.
    """

    def __init__(self, config: Config) -> None:
        self.config = replace(config, trust=replace(config.trust, floor=1.0), half_lives_s=config.half_lives_s[:1])
        self.stream_ms = 0
        self.trend = Trend(
            half_lives_s=self.config.half_lives_s,
            horizon_s=config.horizon_s,
            actor_budget=config.actor_budget,
            trust=self.config.trust,
            network_knee=NO_KNEE,
            group_knee=NO_KNEE,
            max_items=min(MAX_ITEMS, config.max_items),
            max_regions=1,
            max_networks=1,
            max_pairs=min(MAX_PAIRS, config.max_pairs),
            max_actors=min(MAX_ACTORS, config.max_actors),
        )
        self._reads = Evaluation(max_items=MAX_ITEMS)  # `Trend.learn` predicts from these lists, which stay empty
        self._weights = np.zeros(len(Kind) + 1, np.int32)
        for kind in Kind:
            self._weights[kind] = round(config.kind_weights[kind.name.lower()] * WEIGHT_ONE)

    @property
    def memory_ms(self) -> int:
        """Return how far back past events still matter."""
        return 1000 * WARM_HALF_LIVES * self.config.half_lives_s[0]

    def learn(self, batch: EventBatch) -> None:
        """Count a batch, in log order."""
        n = len(batch)
        if not n:
            return
        self.stream_ms = max(self.stream_ms, int(batch.received_ms.max()))
        own_ms, weight = np.empty(n, np.int64), np.empty(n, np.int32)
        weigh(
            batch.kind,
            batch.received_ms,
            batch.occurred_ms,
            admitted(n).verdict,
            _NO_CAP,
            self._weights,
            1000 * self.config.lateness_s,
            own_ms,
            weight,
        )
        nowhere, no_network = np.zeros(n, np.int16), np.zeros(n, np.uint64)
        events = Events(batch.received_ms, own_ms, batch.actor, batch.item, batch.kind, nowhere, no_network, weight)
        self.trend.advance(self.stream_ms)
        self._reads.advance(self.stream_ms)
        self.trend.learn(events, self._reads.shown(self.trend.leaders()[:0], n), batch.item_names)
