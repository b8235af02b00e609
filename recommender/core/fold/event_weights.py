"""Weigh a batch's events, and find each event's own time.

An event has the weight of its kind, within the cap of its verdict.
"""

import numpy as np
from numpy.typing import NDArray

from recommender.core.config import KIND_WEIGHTS, Config
from recommender.core.events import EventBatch
from recommender.core.fold import step_kernels
from recommender.core.screen.screen import Verdicts
from recommender.core.trend.trend_columns import Events
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import Kind

_UNCAPPED = np.empty(0, np.int32)


class EventWeights:
    """The weights of a configuration.

    by_kind: int32, by the number of the kind, WEIGHT_ONE for a whole unit.
    """

    def __init__(self, config: Config) -> None:
        unknown = set(config.kind_weights) ^ set(KIND_WEIGHTS)
        if unknown or not all(0 <= weight <= 1 for weight in config.kind_weights.values()):
            raise ValueError("kind_weights must give every kind a weight in [0, 1]")
        self.by_kind: NDArray[np.int32] = np.zeros(len(Kind) + 1, np.int32)
        for kind in Kind:
            self.by_kind[kind] = round(config.kind_weights[kind.name.lower()] * WEIGHT_ONE)
        self._lateness_ms = 1000 * config.lateness_s

    def survey(self, batch: EventBatch) -> tuple[int, int, int]:
        """Return a batch's first and last arrival and its number of undos.

        Raises ValueError for events that no log can hold.
        """
        n_kinds = len(self.by_kind) - 1
        is_valid, first_ms, last_ms, n_undos = step_kernels.survey(batch.kind, batch.received_ms, n_kinds)
        if not is_valid:
            raise ValueError("a batch holds an unknown kind of act or a time before 1970")
        return first_ms, last_ms, n_undos

    def weigh(self, batch: EventBatch, verdicts: Verdicts) -> tuple[Events, int, int]:
        """Return a batch as it is learned, with its numbers of admitted and held events."""
        own_ms, weight = np.empty(len(batch), np.int64), np.empty(len(batch), np.int32)
        n_admitted, n_held = step_kernels.weigh(
            batch.kind,
            batch.received_ms,
            batch.occurred_ms,
            verdicts.verdict,
            _UNCAPPED if verdicts.cap is None else verdicts.cap,
            self.by_kind,
            self._lateness_ms,
            own_ms,
            weight,
        )
        events = Events(
            batch.received_ms, own_ms, batch.actor, batch.item, batch.kind, batch.country, batch.prefix, weight
        )
        return events, n_admitted, n_held
