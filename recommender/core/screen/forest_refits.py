"""The forests of the screen, and the times when they are fitted.

Each of the three entities has a frozen reference forest and a recent one.

    cleared rows of active windows ──> Reservoir ──at fixed times──> pending ──later──> recent (the first: frozen)

An event is flagged if the reference *or* the recent forest flags it. This is the measured answer to a stream that is
poisoned a little more every day. A row that was strange to the reference stays strange, however far the recent forest
was moved.

A fit is due every `fit_every_s` of stream time, once there are `fit_rows` rows. It takes effect `fit_after_s` later.
Its rows are set aside when it is due, and a thread works on them. Two callers wait for the trees if they are not
ready: the step from which they count, and `state()`. So no state depends on when the thread is done.

Two scores of an actor were tried and left out, since they do not help: a forest's path, and River's HalfSpaceTrees.
On half of the actors of an encyclopaedia (AUC by the mean of their events), forests reached 0.42 on the actor's
columns and 0.62 on the item's. HalfSpaceTrees reached 0.41 to 0.47 at 200 us an event. The product in
core.screen.suspicion reaches 0.75.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.features import feature_columns as fk
from recommender.core.screen.isolation_forest import (
    Float32s,
    Forest,
    Pack,
    Reservoir,
    find_paths,
    find_strange,
    fit,
    packed,
)
from recommender.core.screen.screen_rules import BY_ACTOR, BY_ITEM, BY_NETWORK

ENTITIES = {
    "actor": slice(fk.REPEAT, fk.SHALLOW + 1),
    "item": slice(fk.BURST, fk.OVERLAP + 1),
    "network": slice(fk.PREFIX, fk.AGENT + 1),
}
AGES = ("frozen", "recent", "pending")
_BITS = {"actor": BY_ACTOR, "item": BY_ITEM, "network": BY_NETWORK}
ByEntity = dict[str, Forest]


class Forests:
    """Forests by age and entity. `learn` and `advance` write, `flag` reads."""

    def __init__(self, fit_every_s: int, fit_after_s: int, fit_rows: int, alpha: float) -> None:
        self._every_ms, self._after_ms = 1000 * fit_every_s, 1000 * fit_after_s
        self._fit_rows = fit_rows
        self.alpha = alpha
        self.reservoir = Reservoir(fk.N_FEATURES, seed=1)
        self._forests: dict[str, ByEntity] = {age: {} for age in AGES}
        self._fitting: Future[ByEntity] | None = None  # becomes `pending` when it is done
        self._packed: list[tuple[str, Forest]] = []  # the forests that count now ...
        self._pack: Pack | None = None  # ... and the same for the kernels
        self.n_fits = 0
        self.due_ms = 0
        self.effective_ms = 0

    @property
    def forests(self) -> dict[str, ByEntity]:
        """Return the forests by age and entity, after waiting for a running fit."""
        if self._fitting is not None:
            fitting, self._fitting = self._fitting, None
            self._forests["pending"] = fitting.result()
        return self._forests

    @property
    def is_fitting(self) -> bool:
        """Return whether a fit runs in the background, for which `state` would wait."""
        if self._fitting is not None and self._fitting.done():
            _ = self.forests
        return self._fitting is not None

    def advance(self, now_ms: int) -> None:
        """Start the fit that is due at stream time, and put a finished one into effect."""
        if now_ms >= self.effective_ms and (self._fitting is not None or self._forests["pending"]):
            forests = self.forests
            forests["recent"] = forests["pending"]
            for entity, forest in forests["pending"].items():
                forests["frozen"].setdefault(entity, forest)
            forests["pending"] = {}
            self._see()
        if now_ms < self.due_ms or self.reservoir.n < self._fit_rows:
            return
        forests = self.forests  # An entity that gets no new forest keeps the pending one.
        self.due_ms = (now_ms // self._every_ms + 1) * self._every_ms
        self.effective_ms = now_ms + self._after_ms
        self.n_fits += 1
        rows, holdout = self.reservoir.split()
        thread = ThreadPoolExecutor(1, "fit")  # a new one each time, since a kept one is lost in a process that forks
        self._fitting = thread.submit(_fitted, rows, holdout, self.n_fits, forests["pending"])
        thread.shutdown(wait=False)

    def flag(self, features: NDArray[np.float64], flags: NDArray[np.int32], asked: int) -> NDArray[np.uint8]:
        """Find the rows with the flag `asked` that are stranger than cleared traffic.

        Returns which forests flagged them, as bits of `screen_rules.BY_*`. The actor's forest counts only where
        another one finds the window strange.
        """
        strange = np.zeros(len(features), np.uint8)
        if self._pack is not None:
            find_strange(features, flags, asked, *self._pack, strange)  # type: ignore[call-arg]  # `Pack` has no fixed length
        return strange

    def p_values(self, features: NDArray[np.float64]) -> Float32s:
        """Return the p-values of rows that were asked, float32 (n, 3) by ENTITIES.

        Each is the smaller one of the reference and the recent forest. It is NaN without a forest. The actor's is
        also NaN where the window was not strange. They serve to explain a verdict, not to decide it.
        """
        answer = np.full((len(features), len(ENTITIES)), np.nan, np.float32)
        if self._pack is not None:
            _, first_column, _, *trees = self._pack
            paths = find_paths(features, first_column, *trees)
            for (entity, forest), lengths in zip(self._packed, paths.T, strict=True):
                at = list(ENTITIES).index(entity)
                answer[:, at] = np.fmin(answer[:, at], forest.p_values_of(lengths))
        is_strange = (answer[:, 1:] <= np.float32(self.alpha)).any(axis=1)
        answer[~is_strange, 0] = np.nan
        return answer

    def learn(self, features: NDArray[np.float64], is_cleared: NDArray[np.uint8]) -> None:
        """Add the cleared rows to the reservoir."""
        self.reservoir.add(features, is_cleared)

    def state(self) -> dict[str, Any]:
        forests = self.forests
        return {
            "n_fits": self.n_fits,
            "due_ms": self.due_ms,
            "effective_ms": self.effective_ms,
            "reservoir": self.reservoir.state(),
            **{age: {entity: forest.state() for entity, forest in forests[age].items()} for age in AGES},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.n_fits, self.due_ms, self.effective_ms = state["n_fits"], state["due_ms"], state["effective_ms"]
        self.reservoir.restore(state["reservoir"])
        self._fitting = None
        for age in AGES:
            self._forests[age] = {entity: Forest.from_state(each) for entity, each in state[age].items()}
        self._see()

    def _see(self) -> None:
        """Pack the forests that count for `flag`, until others do."""
        self._packed = []
        for entity in ("item", "network", "actor"):
            frozen, recent = (self._forests[age].get(entity) for age in ("frozen", "recent"))
            for forest in (frozen, recent) if recent is not frozen else (frozen,):
                if forest is not None:
                    self._packed.append((entity, forest))
        forests = [(_BITS[entity], ENTITIES[entity].start, forest) for entity, forest in self._packed]
        self._pack = packed(forests, self.alpha) if forests else None


def _fitted(rows: Float32s, holdout: Float32s, seed: int, before: ByEntity) -> ByEntity:
    """Return a new forest for each entity whose rows differ.

    The other entities keep the forest in `before`, if any. Nothing is known of them, and all their rows are neutral.
    """
    return before | {
        entity: fit(rows[:, columns], holdout[:, columns], seed=seed)
        for entity, columns in ENTITIES.items()
        if (rows[:, columns] != rows[0, columns]).any()
    }
