"""The forests of the screen: three entities, a frozen reference and a recent one each, and when they are fitted.

    cleared rows of active windows ──> Reservoir ──at fixed times──> pending ──later──> recent (the first: frozen)

An event is flagged if the reference *or* the recent forest flags it. That is the measured answer to a stream that is
poisoned a little more every day: what the reference knew to be strange stays so, however the recent one was boiled.

A fit is due every `fit_every_s` of stream time, once there are `fit_rows` rows, and counts from `fit_after_s` later
on. Its rows are set aside when it is due, and a thread works on them; whoever needs the trees waits for it: the step
from which they count, and `state()`. So it makes no difference to any state when the thread is done.

Not here, since it does not help: a forest's path, or River's HalfSpaceTrees, as the score of an actor. On half of the
actors of an encyclopaedia (AUC by the mean of their events): forests 0.42 on the actor's columns and 0.62 on the
item's, HalfSpaceTrees 0.41 to 0.47 at 200 us an event; the product in core.screen.suspicion 0.75.
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
    """`learn` and `advance` write, `flag` reads."""

    def __init__(self, fit_every_s: int, fit_after_s: int, fit_rows: int, alpha: float) -> None:
        self._every_ms, self._after_ms = 1000 * fit_every_s, 1000 * fit_after_s
        self._fit_rows = fit_rows
        self.alpha = alpha
        self.reservoir = Reservoir(fk.N_FEATURES, seed=1)
        self._forests: dict[str, ByEntity] = {age: {} for age in AGES}
        self._fitting: Future[ByEntity] | None = None  # what will be pending
        self._packed: list[tuple[str, Forest]] = []  # what counts now ...
        self._pack: Pack | None = None  # ... and the same for the kernels
        self.n_fits = 0
        self.due_ms = 0
        self.effective_ms = 0

    @property
    def forests(self) -> dict[str, ByEntity]:
        """By age and entity; waits for a fit that is under way."""
        if self._fitting is not None:
            fitting, self._fitting = self._fitting, None
            self._forests["pending"] = fitting.result()
        return self._forests

    def advance(self, now_ms: int) -> None:
        """Begin to fit, and put into effect, what is due at stream time."""
        if now_ms >= self.effective_ms and (self._fitting is not None or self._forests["pending"]):
            forests = self.forests
            forests["recent"] = forests["pending"]
            for entity, forest in forests["pending"].items():
                forests["frozen"].setdefault(entity, forest)
            forests["pending"] = {}
            self._see()
        if now_ms < self.due_ms or self.reservoir.n < self._fit_rows:
            return
        forests = self.forests  # of a fit that is not in effect yet the entities without a new one stay
        self.due_ms = (now_ms // self._every_ms + 1) * self._every_ms
        self.effective_ms = now_ms + self._after_ms
        self.n_fits += 1
        rows, holdout = self.reservoir.split()
        thread = ThreadPoolExecutor(1, "fit")  # of its own: one kept would be lost in a process that forks
        self._fitting = thread.submit(_fitted, rows, holdout, self.n_fits, forests["pending"])
        thread.shutdown(wait=False)

    def flag(self, features: NDArray[np.float64], flags: NDArray[np.int32], asked: int) -> NDArray[np.uint8]:
        """Find the rows with the flag `asked` that are stranger than cleared traffic.

        Returns by which forests, as bits of `screen_rules.BY_*`; the actor's only where one of the others finds the
        window strange."""
        strange = np.zeros(len(features), np.uint8)
        if self._pack is not None:
            find_strange(features, flags, asked, *self._pack, strange)  # type: ignore[call-arg]  # `Pack` has no fixed length
        return strange

    def p_values(self, features: NDArray[np.float64]) -> Float32s:
        """Of rows that were asked, float32 (n, 3) by ENTITIES: the smaller p-value of the reference and the recent
        forest; NaN without one, and of the actor's where the window was not strange. To explain, not to
        decide.
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
        """Take the rows that are cleared."""
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
        """What `flag` works on; good until other forests count."""
        self._packed = []
        for entity in ("item", "network", "actor"):
            frozen, recent = (self._forests[age].get(entity) for age in ("frozen", "recent"))
            for forest in (frozen, recent) if recent is not frozen else (frozen,):
                if forest is not None:
                    self._packed.append((entity, forest))
        forests = [(_BITS[entity], ENTITIES[entity].start, forest) for entity, forest in self._packed]
        self._pack = packed(forests, self.alpha) if forests else None


def _fitted(rows: Float32s, holdout: Float32s, seed: int, before: ByEntity) -> ByEntity:
    """A forest an entity of which the rows differ; of the others nothing is known, and all is neutral."""
    return before | {
        entity: fit(rows[:, columns], holdout[:, columns], seed=seed)
        for entity, columns in ENTITIES.items()
        if (rows[:, columns] != rows[0, columns]).any()
    }
