"""The ranker: learn online how likely an actor is to click a candidate.

The model is River's logistic regression.

    acts, before they are learned ──choose──> a few of them ──candidates as they are──> CandidateLists ──learn──>
        places by trend, by blend, by the weights so far ──> contest: which order is served?
        of each list the clicked candidate and some that were not ──> River, one example after the other
                                                                 └──> Weights, for the web processes (`list_scores`)

Each list is judged before it is learned. The model starts as the blend: the coefficient of the blend's column is 1
and all others are 0. From there it learns how the readers of a site differ.

**Few acts are learned, at little cost.** A keyed hash of (actor, item) chooses the acts, so no one can know which.
One act in `1 / share` is chosen, with two exceptions. While fewer than `eager` lists were learned, it is one in
`1 / eager_share`. Later, in a small step, the share is raised until about `calm_lists` acts are chosen, up to
`eager_share`. So other actors' acts move the share only between `share` and `eager_share`. An actor teaches one list
per `spacing_s`. All actors together teach lists of `trust_per_h` of full trust an hour, and at most `lists_per_step`
a step, the most trusted first. A list gives 1 + `n_others` examples. It costs about 0.4 ms, so `calm_lists` keep a
small step at about 6 ms.

**The reach of a crowd.** By plain gradient descent an example moves the model by at most learning_rate * weight *
reach, with reach = sqrt(1 + features * CLIP**2). So in an hour actors of trust W, however many they are, move it by
at most

    move_bound(W) = learning_rate * (1 + n_others) * reach * min(W * slots, trust_per_h * 5/4)

Here `slots` is the number of slots of `spacing_s` that an hour can touch. The lessons of others meanwhile do not add
to the bound. A step down a convex loss brings two models no further apart (Hardt, Recht & Singer, *Train faster,
generalize better*, ICML 2016, lemma 3.7) if the learning rate is at most 8 / reach**2. The constructor demands that.

The bound holds for one scaling. The scaler's mean moves by W out of all the trust it has seen, at most `memory`. A
crowd does not displace the lists of others either: fresh actors cannot spend the last half of the saved trust. The
bound covers the worst lists that can be made up, with every click on a candidate at one end of all features and the
rest at the other. If a crowd makes the lists worse for readers, the contest notices, and then the ranker is not
served.

AdaGrad divides by the previous gradients, so a first crowd's examples count in full however small their weight is.
No bound holds for it. It is there for comparison.

Unlike the rest of the core, the ranker uses floats, but only sums, products and roots in one order (`click_model`).
So it is the same on every machine, bit for bit.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recommender.core.ranking.bypass import BLEND, MODES, RANKER, TREND, Contest, ContestConfig
from recommender.core.ranking.list_scores import CLIP, CandidateLists, Float64s, Int64s, Weights, find_places
from recommender.core.tables.hashing import mix
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS

UInt64s = NDArray[np.uint64]
BURST_MS = 15 * MINUTE_MS  # unspent trust is saved up for this long
OPTIMISERS = {"sgd": 0, "adagrad": 1}  # the numbers that each keeps by feature, apart from the coefficient
CHOICE = np.uint64(0x0FFE2ED70B1A5E54)  # mixed with an act's number; low results are chosen
_NOBODY = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class RankerConfig:
    """Settings of the ranker, explained in the module.

    Raises ValueError for impossible values.
    """

    optimiser: str = "sgd"
    learning_rate: float = 0.02
    l2: float = 0.0
    n_others: int = 8
    share: float = 1 / 96
    eager: int = 2000
    eager_share: float = 1 / 4
    calm_lists: int = 16
    lists_per_step: int = 64
    spacing_s: int = 600
    trust_per_h: float = 60.0
    memory: float = 20_000.0  # examples of full trust, beyond which the scaler forgets

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"the optimiser of the ranker must be one of {', '.join(OPTIMISERS)}")
        if not 0 <= self.share <= self.eager_share <= 1:
            raise ValueError("the ranker needs 0 <= share <= eager_share <= 1")
        if not 0 < self.learning_rate <= 1 or not 0 <= self.l2 < 1:
            raise ValueError("learning_rate must be above 0 and at most 1, l2 at least 0 and below 1")
        if (
            min(self.n_others, self.lists_per_step, self.spacing_s) < 1
            or min(self.eager, self.calm_lists, self.trust_per_h) < 0
        ):
            raise ValueError(
                "n_others, lists_per_step and spacing_s must be at least 1, "
                "and eager, calm_lists and trust_per_h at least 0"
            )
        if self.memory < 1:
            raise ValueError("memory must be at least 1, so that the scaler remembers an example")


class Ranker:
    """A ranker that learns from lists. `learn` writes.

    names: the features, in the order of their columns.
    trend, blend: the names of the columns of the simple orders, larger first.

    Memory is some numbers per feature, and 8 bytes per actor of the current slot.
    """

    def __init__(
        self, config: RankerConfig, contest: ContestConfig, names: tuple[str, ...], *, trend: str, blend: str
    ) -> None:
        self._reach = sqrt(1 + len(names) * CLIP**2)  # the largest norm of an example, with the intercept's 1
        most = 8 / self._reach**2
        if config.learning_rate > most:
            raise ValueError(f"with {len(names)} features the learning rate is at most {most:.4f}")
        self.config, self.names = config, names
        self.contest = Contest(contest)
        self._columns = {TREND: names.index(trend), BLEND: names.index(blend)}
        # trust per ms, on the scale on which a list costs its weight * HOUR_MS
        self._rate = round(config.trust_per_h * WEIGHT_ONE)
        self._saved = BURST_MS * self._rate
        self._now_ms = 0
        self._slot = 0  # number of the slot of `spacing_s`
        self._taught = _NOBODY  # actors who taught in this slot, ascending
        self.n_lists = 0
        zeros = np.zeros(len(names))
        self._arrays: dict[str, Any] = {
            "mass": 0.0,
            "mean": zeros,
            "variance": zeros,
            "coefficients": np.eye(len(names))[self._columns[BLEND]],
            "slots": np.zeros((OPTIMISERS[config.optimiser], len(names))),
            "intercept": 0.0,
            "n_examples": 0,
        }
        self._model: Any = None  # River's model; `_arrays` is its content whenever it is not learning
        self._weights = _exported(self._arrays)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """Return the order that is served: ranker, blend or trend (see `ranking.bypass`)."""
        return self.contest.mode

    @property
    def mode_number(self) -> int:
        """Return the position of `mode` in MODES."""
        return MODES.index(self.contest.mode)

    def export(self) -> Weights:
        """Return the current weights."""
        return self._weights

    def move_bound(self, trust: float) -> float:
        """Return the most by which actors of that trust can move the model in an hour.

        The bound is for all of them together, and for `sgd`.

        >>> names = ("trend", "blend")
        >>> ranker = Ranker(RankerConfig(), ContestConfig(), names, trend="trend", blend="blend")
        >>> round(ranker.move_bound(1.0), 3)
        8.272
        """
        config = self.config
        most = min(trust * (3600 // config.spacing_s + 2), config.trust_per_h * (1 + BURST_MS / HOUR_MS))
        return config.learning_rate * (1 + config.n_others) * self._reach * most

    def orders(self, features: Float64s) -> Float64s:
        """Return the scores of candidates by each of MODES, float64 (n, 3), larger first."""
        scores = np.empty((len(features), len(MODES)))
        for mode, column in self._columns.items():
            scores[:, mode] = features[:, column]
        scores[:, RANKER] = self._weights.logits(features)
        return scores

    def scores(self, features: Float64s) -> Float64s:
        """Return the scores of candidates, (n,), by the order that is served."""
        column = self._columns.get(MODES.index(self.mode))
        return self._weights.logits(features) if column is None else np.asarray(features[:, column], np.float64)

    def draw(self, actor: UInt64s, item: UInt64s, n_acts: int) -> Int64s:
        """Return the rows from which `choose` takes its own, by any actor, ascending.

        n_acts: how many of the events are acts.
        """
        return draw(actor, item, self._below(n_acts), np.empty(len(actor), np.uint64))

    def choose(self, actor: UInt64s, item: UInt64s, weight: Int64s, n_acts: int, now_ms: int) -> Int64s:
        """Return the rows of the events to learn from at stream time, ascending.

        actor, item: keys.
        weight: in WEIGHT_ONE, 0 for events that are not learned.
        n_acts: as for `draw`.
        """
        config = self.config
        taught = self._taught if now_ms // (1000 * config.spacing_s) == self._slot else _NOBODY
        number = np.empty(len(actor), np.uint64)
        rows = draw(actor, item, self._below(n_acts), number)
        rows = rows[weight[rows] > 0]
        if not len(rows):
            return rows
        _, first = np.unique(actor[rows], return_index=True)
        rows = rows[first]
        rows = rows[~_is_among(actor[rows], taught)]
        rows = rows[np.lexsort((number[rows], -weight[rows]))][: config.lists_per_step]
        reserve = (WEIGHT_ONE - weight[rows]) * (BURST_MS * self._rate // (2 * WEIGHT_ONE))
        can_pay = np.cumsum(weight[rows]) * HOUR_MS + reserve <= self._credit(now_ms)
        return np.sort(rows[can_pay])

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, lists: CandidateLists, now_ms: int) -> NDArray[np.int8]:
        """Judge the orders by lists of chosen acts, then learn the lists.

        Returns the places of the clicked candidates, int8 (n, 3) in the order of MODES, PLACES + 1 for none in the
        list. Raises ValueError, with the state unchanged, for another number of features.
        """
        if lists.features.shape[1] != len(self.names):
            raise ValueError(f"the ranker has {len(self.names)} features, not {lists.features.shape[1]}")
        places = find_places(self.orders(lists.features), lists.offsets, lists.clicked)
        self._spend(lists, now_ms)
        self.contest.learn(places, lists.weight)
        self._teach(lists)
        return places

    def prepare(self) -> None:
        """Import River now, so that no step waits for it.

        This takes about 2 s, once per process.
        """
        self._river()

    def forget(self, actor: int) -> None:
        """Drop an actor's key, and with it the record that it taught in this slot.

        The effect of its lessons stays, and fades.
        """
        self._taught = self._taught[self._taught != np.uint64(actor)]

    def _below(self, n: int) -> np.uint64:
        """Return the bound below which the number of an act, one of n, is chosen."""
        config = self.config
        share = config.eager_share
        if self.n_lists >= config.eager:
            share = max(config.share, min(share, config.calm_lists / max(n, 1)))
        return np.uint64(min(int(share * 2**64), 2**64 - 1))

    def _credit(self, now_ms: int) -> int:
        """Return the trust that can be spent at stream time, times HOUR_MS."""
        return min(self._saved + max(now_ms - self._now_ms, 0) * self._rate, BURST_MS * self._rate)

    def _spend(self, lists: CandidateLists, now_ms: int) -> None:
        slot = now_ms // (1000 * self.config.spacing_s)
        taught = self._taught if slot == self._slot else _NOBODY
        self._saved = self._credit(now_ms) - int(lists.weight.sum()) * HOUR_MS
        self._now_ms, self._slot = max(now_ms, self._now_ms), slot
        self._taught = np.union1d(taught, lists.actor)
        self.n_lists += len(lists)

    def _teach(self, lists: CandidateLists) -> None:
        """Let River learn the examples of the lists."""
        rows, is_clicked, weight = find_examples(
            lists.offsets, lists.clicked, lists.actor, lists.weight, self.config.n_others, self._slot
        )
        if not len(rows):
            return
        from recommender.core.ranking.click_model import learn  # noqa: PLC0415  River, as below

        learn(self._river(), self.names, lists.features[rows], is_clicked, weight)
        self._read()

    def _river(self) -> Any:
        """Return River's model, built when there is something to learn."""
        if self._model is None:
            # Imported here, since it takes 2 s and 100 MB. A process that never learns does not pay for it (see
            # `prepare`).
            from recommender.core.ranking.click_model import build  # noqa: PLC0415

            config = self.config
            self._model = build(
                self.names,
                optimiser=config.optimiser,
                learning_rate=config.learning_rate,
                l2=config.l2,
                memory=config.memory,
                state=self._arrays,
            )
        return self._model

    def _read(self) -> None:
        """Copy the content of River's model into the arrays and the weights."""
        from recommender.core.ranking.click_model import read  # noqa: PLC0415  River, as above; imported already

        self._arrays = read(self._model, self.names)
        self._weights = _exported(self._arrays)

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "n_lists": self.n_lists,
            "now_ms": self._now_ms,
            "slot": self._slot,
            "saved": self._saved,
            "taught": self._taught.copy(),
            "contest": self.contest.state(),
            "model": _copied(self._arrays),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state()`.

        Raises ValueError, with the state unchanged, if another version made it.
        """
        model = state["model"]
        if model.keys() != self._arrays.keys() or any(
            np.shape(model[name]) != np.shape(value) for name, value in self._arrays.items()
        ):
            raise ValueError("this state was made by a ranker with other features or another optimiser")
        self.contest.restore(state["contest"])
        self.n_lists, self._now_ms = state["n_lists"], state["now_ms"]
        self._slot, self._saved, self._taught = state["slot"], state["saved"], state["taught"].copy()
        self._arrays = _copied(model)
        self._model, self._weights = None, _exported(self._arrays)


def _copied(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in arrays.items()}


def _exported(arrays: dict[str, Any]) -> Weights:
    return Weights(arrays["mean"], np.sqrt(arrays["variance"]), arrays["coefficients"], arrays["intercept"])


def _is_among(keys: UInt64s, some: UInt64s) -> NDArray[np.bool_]:
    """Return which keys are among `some`, (n,). `some` is ascending."""
    if not len(some):
        return np.zeros(len(keys), np.bool_)
    return np.asarray(some[np.minimum(np.searchsorted(some, keys), len(some) - 1)] == keys)


@njit(cache=True)
def draw(actor: UInt64s, item: UInt64s, below: np.uint64, number: UInt64s) -> Int64s:
    """Return the rows whose number, a hash of (actor, item), is below a bound.

    The numbers of all rows are written into `number`.
    """
    rows = np.empty(actor.size, np.int64)
    n = 0
    for i in range(actor.size):
        number[i] = mix(mix(actor[i], item[i]), CHOICE)
        if number[i] < below:
            rows[n] = i
            n += 1
    return rows[:n]


@njit(cache=True)
def find_examples(
    offsets: Int64s, clicked: Int64s, actor: UInt64s, weight: Int64s, n_others: int, slot: int
) -> tuple[Int64s, NDArray[np.bool_], Float64s]:
    """Return the rows to learn, whether they were clicked, and their weights.

    Weights are in [0, 1]. Of each list that holds its click these are the clicked candidate and n others. The others
    are evenly spread from a start that depends on the actor and the slot.
    """
    n_rows = clicked.size * (1 + n_others)
    rows, is_clicked, weights = np.empty(n_rows, np.int64), np.zeros(n_rows, np.bool_), np.empty(n_rows)
    n = 0
    for i in range(clicked.size):
        first, size = offsets[i], offsets[i + 1] - offsets[i]
        if clicked[i] < 0 or size < 2 or weight[i] <= 0:
            continue
        start = np.int64(mix(actor[i], np.uint64(slot) << np.uint64(1)) % np.uint64(size))
        n_taken = min(n_others, size - 1)
        for k in range(-1, n_taken):
            place = clicked[i] if k < 0 else (start + k * (size - 1) // n_taken) % size
            if k >= 0 and place == clicked[i]:
                place = (start + size - 1) % size  # the one place that no k maps to
            rows[n], is_clicked[n], weights[n] = first + place, k < 0, weight[i] / WEIGHT_ONE
            n += 1
    return rows[:n], is_clicked[:n], weights[:n]
