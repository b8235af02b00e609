"""The state of a Pipeline: its parts, and the way into a checkpoint and back.

    Config ──> empty parts ──step──> views() ──> Layout: header and pieces    digest
    a state of any version ──migrate──> from_state ──> the same parts

`Pipeline` adds the steps. The functions of this room change the parts for it.
"""

from dataclasses import asdict
from typing import Any, Self

import numpy as np

from recommender.core import checkpoint, checkpoint_reader, state_versions
from recommender.core.affinity import Affinity
from recommender.core.config import Config
from recommender.core.events import Encoder
from recommender.core.features import Features
from recommender.core.fold.event_weights import EventWeights
from recommender.core.quality import Drift, Evaluation
from recommender.core.ranking import Ranker, Ranking
from recommender.core.ranking.training_lists import BLEND, NAMES, TREND
from recommender.core.screen import Screen
from recommender.core.screen.holding_queue import Holding
from recommender.core.screen.pressure import Pressure
from recommender.core.trend import Trend


class PipelineState:
    """All numerical state of one shard."""

    def __init__(self, config: Config) -> None:
        self.weights = EventWeights(config)
        self.config = config
        self.stream_ms = 0
        self.n_events = 0
        features = Features(
            max_actors=config.max_screened_actors,
            max_pairs=config.max_screened_pairs,
            max_items=config.max_items,
            max_links=config.max_links,
            max_recent=config.max_recent,
        )
        self.screen = Screen(config.screen, config.trust.rules(), features)
        self.holding = Holding()
        self.trend = Trend(
            half_lives_s=config.half_lives_s,
            horizon_s=config.horizon_s,
            actor_budget=config.actor_budget,
            trust=config.trust,
            network_knee=config.network_knee,
            group_knee=config.group_knee,
            max_items=config.max_items,
            max_regions=config.max_regions,
            max_networks=config.max_networks,
            max_pairs=config.max_pairs,
            max_actors=config.max_actors,
        )
        self.affinity = Affinity(
            config.affinity,
            horizon_s=config.horizon_s,
            longest_half_life_s=max(config.half_lives_s),
            floor=config.trust.rules().floor,
        )
        self.ranking = Ranking(config.ranking, self.trend, self.affinity, personal_share=config.personal_share)
        self.ranker = Ranker(config.ranker, config.contest, NAMES, trend=TREND, blend=BLEND)
        self.evaluation = Evaluation(max_items=config.max_items, canary_share=config.canary_share)
        self.pressure = Pressure()
        self.drift = Drift(config.drift, config.half_lives_s[0])
        self.encoder = Encoder(bytes.fromhex(config.secret))
        self.trust_rules = config.trust.rules()

    @property
    def is_fitting(self) -> bool:
        """Return whether a refit runs in a thread.

        `state` waits for its end, and a forked process would wait for ever.
        """
        return self.screen.forests.is_fitting

    def state(self) -> dict[str, Any]:
        """Return everything the future depends on, as nested dicts of arrays and scalars.

        Arrays are copies.
        """
        return _copied(self.views())

    def views(self) -> dict[str, Any]:
        """Return the same without copies.

        Large arrays are views of the Pipeline's own. The next step changes them, and no one may write to them.
        """
        return {
            state_versions.VERSIONS: state_versions.stamp(),
            "config": asdict(self.config),
            "stream_ms": self.stream_ms,
            "n_events": self.n_events,
            "trend": self.trend.state(),
            "affinity": self.affinity.state(),
            "ranker": self.ranker.state(),
            "evaluation": self.evaluation.state(),
            "drift": self.drift.state(),
            "pressure": self.pressure.state(),
            "screen": self.screen.state(),
            "holding": self.holding.state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the Pipeline whose `state()` this is, or was in an earlier version.

        Raises StateNewer for a state of a newer version, and StateUnfit or another ValueError for one that does not
        fit.
        """
        state = state_versions.migrate(state)
        try:
            pipeline = cls(Config.from_state(state["config"]))
            pipeline.stream_ms, pipeline.n_events = state["stream_ms"], state["n_events"]
            pipeline.trend.restore(state["trend"], pipeline.stream_ms)
            pipeline.affinity.restore(state["affinity"])
            pipeline.ranker.restore(state["ranker"])
            pipeline.evaluation.restore(state["evaluation"])
            pipeline.drift.restore(state["drift"])
            pipeline.pressure.restore(state["pressure"])
            pipeline.screen.restore(state["screen"])
            pipeline.holding.restore(state["holding"])
        except KeyError as error:
            raise state_versions.StateUnfit(f"the state lacks {error}, and no migration adds it") from error
        return pipeline

    def to_bytes(self) -> bytes:
        """Return a checkpoint as one block, for small states.

        See `recommender.core.checkpoint`.
        """
        return checkpoint.dump(self.views())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the Pipeline that a checkpoint holds.

        Raises CheckpointCorrupt if a byte differs.
        """
        return cls.from_state(checkpoint_reader.load(data))

    def digest(self) -> str:
        """Return 64 hex digits that are equal exactly if the states are equal."""
        return checkpoint.Layout(self.views()).header.digest


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _copied(value) if isinstance(value, dict) else value.copy() if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }
