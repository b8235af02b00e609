"""The forests of the screen: three entities, a frozen reference and a recent one each, and when they are fitted.

    cleared rows of active windows ──> Reservoir ──at fixed times──> pending ──later──> recent (the first: frozen)

An event is flagged if the reference *or* the recent forest flags it. That is the measured answer to a stream that is
poisoned a little more every day: what the reference knew to be strange stays so, however the recent one was boiled.
A fit is due every `fit_every_s` of stream time, once there are `fit_rows` rows, and counts from `fit_after_s` later
on, so that it might as well be computed in the background; the pending trees stand in the state meanwhile.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core import feature_kernels as fk
from recommender.core.forest import Forest, Reservoir, fit

ENTITIES = {
    "actor": slice(fk.REPEAT, fk.SHALLOW + 1),
    "item": slice(fk.BURST, fk.OVERLAP + 1),
    "network": slice(fk.PREFIX, fk.AGENT + 1),
}
AGES = ("frozen", "recent", "pending")
Bools = NDArray[np.bool_]


class Forests:
    """`learn` and `advance` write, `flag` reads."""

    def __init__(self, fit_every_s: int, fit_after_s: int, fit_rows: int, alpha: float) -> None:
        self._every_ms, self._after_ms = 1000 * fit_every_s, 1000 * fit_after_s
        self._fit_rows = fit_rows
        self._alpha = alpha
        self.reservoir = Reservoir(fk.N_FEATURES, seed=1)
        self.forests: dict[str, dict[str, Forest]] = {age: {} for age in AGES}
        self.n_fits = 0
        self.due_ms = 0
        self.effective_ms = 0

    def advance(self, now_ms: int) -> None:
        """Fit, and put into effect, what is due at stream time."""
        if self.forests["pending"] and now_ms >= self.effective_ms:
            self.forests["recent"] = self.forests["pending"]
            for entity, forest in self.forests["pending"].items():
                self.forests["frozen"].setdefault(entity, forest)
            self.forests["pending"] = {}
        if now_ms < self.due_ms or self.reservoir.n < self._fit_rows:
            return
        self.due_ms = (now_ms // self._every_ms + 1) * self._every_ms
        self.effective_ms = now_ms + self._after_ms
        self.n_fits += 1
        rows, holdout = self.reservoir.split()
        for entity, columns in ENTITIES.items():
            if (rows[:, columns] != rows[0, columns]).any():  # else nothing is known of it, and all is neutral
                self.forests["pending"][entity] = fit(rows[:, columns], holdout[:, columns], seed=self.n_fits)

    def flag(self, features: NDArray[np.float64], is_active: Bools) -> tuple[Bools, Bools, Bools]:
        """Which rows the forests of actor, item and network find stranger than cleared traffic; only active ones."""
        flagged = np.zeros((3, len(features)), np.bool_)
        rows = np.flatnonzero(is_active)
        if len(rows) and self.forests["recent"]:
            values = features[rows].astype(np.float32)
            for at, (entity, columns) in reversed(list(enumerate(ENTITIES.items()))):
                if entity == "actor":  # counts only with an anomalous window
                    is_anomalous = flagged[1:, rows].any(axis=0)
                    rows, values = rows[is_anomalous], values[is_anomalous]
                for age in ("frozen", "recent"):
                    forest = self.forests[age].get(entity)
                    if forest is not None and len(rows):
                        flagged[at, rows] |= forest.p_values(values[:, columns]) <= self._alpha
        return flagged[0], flagged[1], flagged[2]

    def learn(self, features: NDArray[np.float64]) -> None:
        """Take cleared rows."""
        if len(features):
            self.reservoir.add(features)

    def state(self) -> dict[str, Any]:
        return {
            "n_fits": self.n_fits,
            "due_ms": self.due_ms,
            "effective_ms": self.effective_ms,
            "reservoir": self.reservoir.state(),
            **{age: {entity: forest.state() for entity, forest in self.forests[age].items()} for age in AGES},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.n_fits, self.due_ms, self.effective_ms = state["n_fits"], state["due_ms"], state["effective_ms"]
        self.reservoir.restore(state["reservoir"])
        for age in AGES:
            self.forests[age] = {entity: Forest.from_state(each) for entity, each in state[age].items()}
