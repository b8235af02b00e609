"""The Pipeline: the whole numerical state, and the only thing that learns. READ THIS FIRST.

    Pipeline.step(batch):   screen.judge ──> verdicts
                            the lists as they stand are put to the batch (evaluation)
                            what was admitted is counted, at the actor's trust (trend, trust)

State is a fold: `Pipeline = fold(checkpoint, log range, decisions)`. No clock, no settings, no random numbers: time
comes from the events, everything else from the `Config` it was made with, which travels in its checkpoints. From this
one property come crash recovery, revert, release and "the same without the attackers".

Stream time is the largest `received_ms` seen: it never runs back. An event's own time is the client's claim, kept
between its arrival less the lateness allowed and its arrival.

A list is judged as it stood before the step, since that is what readers were shown while the step's events happened.

>>> pipeline = Pipeline(Config())
>>> pipeline.step(pipeline.encode(received_ms=[1000], actors=["ana"], items=["story"])).n_admitted
1
>>> pipeline.board(10).items
['story']
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recommender.core import checkpoint
from recommender.core.evaluation import NOTHING, Evaluation, Quality
from recommender.core.events import Encoder, EventBatch, Kind
from recommender.core.kernels import WEIGHT_ONE, Events
from recommender.core.screen import AdmitAll, Verdicts
from recommender.core.trend import Board, Trend
from recommender.core.trust import TrustConfig

# A view says little, a click is the act that is counted, nothing says more: a unit is the most an actor can add.
# An exposure is no act. An undo needs a weight only to be heard.
KIND_WEIGHTS = {kind.name.lower(): 1.0 for kind in Kind} | {"view": 0.25, "exposure": 0.0}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a Pipeline depends on besides its events. Times in seconds, weights in [0, 1]; bounds in rows."""

    half_lives_s: tuple[int, ...] = (300, 3600, 21_600)
    horizon_s: int = 86_400
    actor_budget: int = 200
    lateness_s: int = 86_400
    kind_weights: dict[str, float] = field(default_factory=lambda: dict(KIND_WEIGHTS))
    trust: TrustConfig = field(default_factory=TrustConfig)
    secret: str = ""  # hex; keys the hashes of ids
    max_items: int = 200_000
    max_regions: int = 400_000
    max_pairs: int = 4_000_000
    max_actors: int = 2_000_000

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Take what `asdict` gave. Raises ValueError for a field this version does not know, or lacks."""
        known = {each.name for each in fields(cls)}
        if known != set(state):
            raise ValueError(f"the configuration differs in: {', '.join(sorted(known ^ set(state)))}")
        trust = TrustConfig(**state["trust"])
        return cls(**{**state, "half_lives_s": tuple(state["half_lives_s"]), "trust": trust})


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did. n_events taken, n_admitted of them learned, the quality of the list they were shown."""

    n_events: int
    n_admitted: int
    quality: Quality
    verdicts: Verdicts


class Pipeline:
    """See the module. Methods that read never change state; `step` is the one that writes."""

    def __init__(self, config: Config) -> None:
        unknown = set(config.kind_weights) ^ set(KIND_WEIGHTS)
        if unknown or not all(0 <= weight <= 1 for weight in config.kind_weights.values()):
            raise ValueError("kind_weights must give every kind a weight in [0, 1]")
        self.config = config
        self.stream_ms = 0
        self.n_events = 0
        self.screen = AdmitAll()
        self.trend = Trend(
            half_lives_s=config.half_lives_s,
            horizon_s=config.horizon_s,
            actor_budget=config.actor_budget,
            trust=config.trust,
            max_items=config.max_items,
            max_regions=config.max_regions,
            max_pairs=config.max_pairs,
            max_actors=config.max_actors,
        )
        self.evaluation = Evaluation(max_items=config.max_items)
        self.encoder = Encoder(bytes.fromhex(config.secret))
        self._weights = np.zeros(len(Kind) + 1, np.int32)
        for kind in Kind:
            self._weights[kind] = round(config.kind_weights[kind.name.lower()] * WEIGHT_ONE)
        self._lateness_ms = 1000 * config.lateness_s

    # -- learning ------------------------------------------------------------------------------------------------

    def step(self, batch: EventBatch) -> StepResult:
        """Screen, evaluate and learn one mini-batch in log order; an empty one changes nothing.

        Raises ValueError, with the state unchanged, for kinds or times that no log can hold.
        """
        if not len(batch):
            return StepResult(0, 0, NOTHING, self.screen.judge(batch))
        if batch.kind.min() < 1 or batch.kind.max() >= len(self._weights) or batch.received_ms.min() < 0:
            raise ValueError("a batch holds an unknown kind or a time before 1970")
        self.stream_ms = max(self.stream_ms, int(batch.received_ms.max()))
        self.n_events += len(batch)
        verdicts = self.screen.judge(batch)
        is_admitted = verdicts.is_admitted
        self.trend.advance(self.stream_ms)
        self.evaluation.advance(self.stream_ms)
        shown = self.evaluation.shown(self.trend.leaders(), len(batch))
        ranks = self.trend.learn(self._columns(batch, is_admitted), shown, batch.item_names)
        return StepResult(len(batch), int(np.count_nonzero(is_admitted)), self.evaluation.learn(ranks), verdicts)

    def _columns(self, batch: EventBatch, is_admitted: NDArray[np.bool_]) -> Events:
        earliest_ms = np.maximum(batch.received_ms - self._lateness_ms, 0)
        own_ms = np.minimum(np.maximum(batch.occurred_ms, earliest_ms), batch.received_ms)
        weight = self._weights[batch.kind] * is_admitted
        return Events(batch.received_ms, own_ms, batch.actor, batch.item, batch.kind, batch.country, weight)

    # -- reading -------------------------------------------------------------------------------------------------

    def encode(
        self,
        *,
        received_ms: ArrayLike,
        actors: Sequence[str],
        items: Sequence[str],
        occurred_ms: ArrayLike | None = None,
        kind: ArrayLike | None = None,
        country: ArrayLike | None = None,
    ) -> EventBatch:
        """A batch of columns as they come; kinds default to click, `occurred_ms` to `received_ms`."""
        received = np.asarray(received_ms, np.int64)
        n = len(received)
        return self.encoder.encode(
            received_ms=received,
            occurred_ms=received if occurred_ms is None else np.asarray(occurred_ms, np.int64),
            actors=actors,
            items=items,
            kind=np.full(n, Kind.CLICK, np.int8) if kind is None else np.asarray(kind, np.int8),
            country=np.zeros(n, np.int16) if country is None else np.asarray(country, np.int16),
        )

    def board(self, depth: int) -> Board:
        """The best items of the served half-life at stream time, at most `kernels.DEPTH`."""
        return self.trend.board(depth, self.stream_ms)

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything the future depends on, as nested dicts of arrays and scalars; copies."""
        return {
            "config": asdict(self.config),
            "stream_ms": self.stream_ms,
            "n_events": self.n_events,
            "trend": self.trend.state(),
            "evaluation": self.evaluation.state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The Pipeline that `state()` was taken of. Raises ValueError where it does not fit this version."""
        pipeline = cls(Config.from_state(state["config"]))
        pipeline.stream_ms, pipeline.n_events = state["stream_ms"], state["n_events"]
        pipeline.trend.restore(state["trend"])
        pipeline.evaluation.restore(state["evaluation"])
        return pipeline

    def to_bytes(self) -> bytes:
        """A checkpoint (see `recommender.core.checkpoint`)."""
        return checkpoint.dump(self.state())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises CheckpointCorrupt where a byte differs."""
        return cls.from_state(checkpoint.load(data))

    def digest(self) -> str:
        """64 hex digits; equal exactly where the states are equal."""
        return checkpoint.digest(self.to_bytes())
