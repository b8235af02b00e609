"""The ranker: how likely is it that this actor clicks this candidate? River's logistic regression learns it online.

    acts, before they are learned ──choose──> a few of them ──candidates as they stand──> CandidateLists ──learn──>
        places by trend, by blend, by the weights so far ──> contest: which order is served?
        of each list the clicked candidate and some that were not ──> River, one example after the other
                                                                 └──> Weights, for whoever serves (`list_scores`)

Each list is a question before it is a lesson. The model starts as the blend: the blend's column has the coefficient
1, all others 0, and from there it learns what a site's readers do differently.

**What is learned from is little, and costs little.** One act in `1 / share`, by a keyed hash of (actor, item): nobody
can know which. While fewer than `eager` lists were learned, one in `1 / eager_share`; later as many more than `1 /
share` as make `calm_lists` of a step, so what others do moves the share between these two, no further. One list an
actor in `spacing_s`; in all, lists of `trust_per_h` of full trust an hour, and `lists_per_step`, the most trusted
first. A list gives 1 + `n_others` examples; it costs 0.4 ms with the rest of `learn` (River alone: 21 us an example),
so 6 ms a small step, and 4 to 5 us an act of a large one.

**What a crowd can do.** By plain gradient descent an example moves the model by at most learning_rate * weight *
reach, reach = sqrt(1 + features * CLIP**2). So in an hour actors of trust W, whoever and however many they are, move
it by at most

    move_bound(W) = learning_rate * (1 + n_others) * reach * min(W * slots, trust_per_h * 5/4)

(slots: of `spacing_s`, that an hour can touch), and what others teach meanwhile does not add to that: a step down a
convex loss brings two models no further apart (Hardt, Recht & Singer, *Train faster, generalize better*, ICML 2016,
lemma 3.7) if the learning rate is at most 8 / reach**2, which the constructor demands. That is for one scaling; the
scaler's mean moves by W of all the trust it has seen, at most `memory`. Nor are the others' lists crowded out: of
what is saved, the fresh cannot spend the last half. The bound is of the worst that can be made up, every click on a
candidate at one end of all features and the rest at the other; what a crowd does to readers the contest sees, and
then the ranker is not served.

AdaGrad divides by the gradients before, so that a first crowd's examples count in full however little it weighs: no
bound holds. It is there to compare with.

Floats, unlike the rest of the core, but only sums, products and roots in one order (`click_model`), so bit for bit
the same on every machine.
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
BURST_MS = 15 * MINUTE_MS  # as long, trust that is not spent is saved up
OPTIMISERS = {"sgd": 0, "adagrad": 1}  # and how many numbers it keeps by feature, besides the coefficient
CHOICE = np.uint64(0x0FFE2ED70B1A5E54)  # mixed with an act's number; what comes out low is chosen
_NOBODY = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class RankerConfig:
    """See the module. Raises ValueError for what cannot be."""

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
    memory: float = 20_000.0  # examples of full trust, past which the scaler forgets

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"the optimiser of the ranker is one of {', '.join(OPTIMISERS)}")
        if not 0 <= self.share <= self.eager_share <= 1:
            raise ValueError("the ranker learns from a share of acts, and from as large a one while it is eager")
        if not 0 < self.learning_rate <= 1 or not 0 <= self.l2 < 1:
            raise ValueError("the learning rate is from 0 to 1, not 0; l2 from 0 to less than 1")
        if (
            min(self.n_others, self.lists_per_step, self.spacing_s) < 1
            or min(self.eager, self.calm_lists, self.trust_per_h) < 0
        ):
            raise ValueError("a list needs a candidate beside the clicked, a step a list, and time a length")
        if self.memory < 1:
            raise ValueError("the scaler must remember an example")


class Ranker:
    """`learn` writes. names: the features, in the order of their columns; trend, blend: the names of the columns by
    which the simple orders go, larger first. Memory: some numbers a feature, and 8 bytes an actor of this slot."""

    def __init__(
        self, config: RankerConfig, contest: ContestConfig, names: tuple[str, ...], *, trend: str, blend: str
    ) -> None:
        self._reach = sqrt(1 + len(names) * CLIP**2)  # the largest norm of an example, the intercept's 1 with it
        most = 8 / self._reach**2
        if config.learning_rate > most:
            raise ValueError(f"with {len(names)} features the learning rate is at most {most:.4f}")
        self.config, self.names = config, names
        self.contest = Contest(contest)
        self._columns = {TREND: names.index(trend), BLEND: names.index(blend)}
        self._rate = round(config.trust_per_h * WEIGHT_ONE)  # trust to spend a ms; a list costs its weight * HOUR_MS
        self._saved = BURST_MS * self._rate
        self._now_ms = 0
        self._slot = 0  # of `spacing_s`
        self._taught = _NOBODY  # actors of this slot, ascending
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
        self._model: Any = None  # River's; `_arrays` is what it says, as long as they agree
        self._weights = _exported(self._arrays)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """Which order is served: ranker, blend or trend; see `ranking.bypass`."""
        return self.contest.mode

    @property
    def mode_number(self) -> int:
        """The same as a place in MODES."""
        return MODES.index(self.contest.mode)

    def export(self) -> Weights:
        """The weights as they are now."""
        return self._weights

    def move_bound(self, trust: float) -> float:
        """The most by which actors of that trust together can move a coefficient within an hour, by `sgd`.

        >>> names = ("trend", "blend")
        >>> ranker = Ranker(RankerConfig(), ContestConfig(), names, trend="trend", blend="blend")
        >>> round(ranker.move_bound(1.0), 3)
        8.272
        """
        config = self.config
        most = min(trust * (3600 // config.spacing_s + 2), config.trust_per_h * (1 + BURST_MS / HOUR_MS))
        return config.learning_rate * (1 + config.n_others) * self._reach * most

    def orders(self, features: Float64s) -> Float64s:
        """What candidates are ordered by, float64 (n, 3), a column for each of MODES; larger first."""
        scores = np.empty((len(features), len(MODES)))
        for mode, column in self._columns.items():
            scores[:, mode] = features[:, column]
        scores[:, RANKER] = self._weights.logits(features)
        return scores

    def scores(self, features: Float64s) -> Float64s:
        """What candidates are to be ordered by now, (n,)."""
        column = self._columns.get(MODES.index(self.mode))
        return self._weights.logits(features) if column is None else np.asarray(features[:, column], np.float64)

    def draw(self, actor: UInt64s, item: UInt64s, n_acts: int) -> Int64s:
        """Rows of the events from which `choose` takes its own, whoever made them, ascending. n_acts: how many of
        them are acts. 5 ns an event."""
        return draw(actor, item, self._below(n_acts), np.empty(len(actor), np.uint64))

    def choose(self, actor: UInt64s, item: UInt64s, weight: Int64s, n_acts: int, now_ms: int) -> Int64s:
        """Which of the events to learn from at stream time, ascending rows. actor, item: keys; weight in WEIGHT_ONE,
        0 for what is not learned; n_acts: as told `draw`. 10 ns an event."""
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
        """Judge the orders by lists of chosen acts, then learn the lists. Returns the places of the clicked
        candidates, int8 (n, 3) in the order of MODES, PLACES + 1 for none in the list.

        Raises ValueError, with the state unchanged, for features of another number.
        """
        if lists.features.shape[1] != len(self.names):
            raise ValueError(f"the ranker has {len(self.names)} features, not {lists.features.shape[1]}")
        places = find_places(self.orders(lists.features), lists.offsets, lists.clicked)
        self._spend(lists, now_ms)
        self.contest.learn(places, lists.weight)
        self._teach(lists)
        return places

    def prepare(self) -> None:
        """Import River now, that no step has to wait for it: 2 s in a fresh process, once."""
        self._river()

    def forget(self, actor: int) -> None:
        """Drop an actor's key, and with it that it taught in this slot. What it taught stays, and fades."""
        self._taught = self._taught[self._taught != np.uint64(actor)]

    def _below(self, n: int) -> np.uint64:
        """What the number of an act, one of n, must be below to be chosen."""
        config = self.config
        share = config.eager_share
        if self.n_lists >= config.eager:
            share = max(config.share, min(share, config.calm_lists / max(n, 1)))
        return np.uint64(min(int(share * 2**64), 2**64 - 1))

    def _credit(self, now_ms: int) -> int:
        """Trust that can be spent at stream time, times HOUR_MS."""
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
        learn_one, names = self._river().learn_one, self.names
        examples = zip(lists.features[rows].tolist(), is_clicked.tolist(), weight.tolist(), strict=True)
        for values, answer, each in examples:
            learn_one(dict(zip(names, values, strict=True)), answer, w=each)
        self._read()

    def _river(self) -> Any:
        """River's model, made when there is something to learn."""
        if self._model is None:
            # imported here: 2 s and 100 MB, which no process should pay for that never learns (`prepare`)
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
        """Let arrays and weights say what River's model says."""
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
        """Take what `state()` gave. Raises ValueError, with the state unchanged, where it is of another version."""
        model = state["model"]
        if model.keys() != self._arrays.keys() or any(
            np.shape(model[name]) != np.shape(value) for name, value in self._arrays.items()
        ):
            raise ValueError("the state is of a ranker with other features or another optimiser")
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
    """Which keys are some of these, which are ascending, (n,)."""
    if not len(some):
        return np.zeros(len(keys), np.bool_)
    return np.asarray(some[np.minimum(np.searchsorted(some, keys), len(some) - 1)] == keys)


@njit(cache=True)
def draw(actor: UInt64s, item: UInt64s, below: np.uint64, number: UInt64s) -> Int64s:
    """The acts whose number, of (actor, item), is below that; the numbers of all into `number`."""
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
    """Rows to learn, whether they were clicked, and what they weigh in [0, 1]: of each list that holds its click the
    clicked and n others, evenly spread from a start that depends on the actor and the slot."""
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
                place = (start + size - 1) % size  # the one place that no k stands for
            rows[n], is_clicked[n], weights[n] = first + place, k < 0, weight[i] / WEIGHT_ONE
            n += 1
    return rows[:n], is_clicked[:n], weights[:n]
