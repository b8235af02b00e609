"""The click model: River's StandardScaler | LogisticRegression, made exact.

Importing River takes seconds and 100 MB. So only `ranker` imports this module, and only once there is something to
learn.

    x ──> WeightedScaler ──> LogisticRegression(optimiser, ExactLog) ──> P(click)

It is exact, since a state must be the same on every machine. The exponential of the loss is made of sums and
products, which IEEE 754 rounds everywhere alike, instead of the C library's `exp`. The standard deviation is a `sqrt`
instead of a power. Dicts of features are built in one order, which is the order of River's sums.

It is weighted, since a crowd of fresh accounts must not move the scale by more than its trust. River's scaler counts
examples, and this one counts their weights (D. West, *Updating mean and variance estimates*, CACM 22, 1979). It
forgets: past `memory` the mean is an exponentially weighted one.
"""

from math import ldexp, sqrt
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import compose, linear_model, optim, preprocessing

from recommender.core.ranking.list_scores import CLIP

# Columns that an optimiser keeps by feature, apart from the number of its steps.
OPTIMISERS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "sgd": (optim.SGD, ()),
    "adagrad": (optim.AdaGrad, ("g2",)),
}
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
_TAYLOR = [1 / np.prod(np.arange(1.0, n + 1)) for n in range(13, -1, -1)]
TAYLOR = [float(each) for each in _TAYLOR]
FAR = 40.0  # beyond this logit a probability is 0 or 1 in double precision


class WeightedScaler(preprocessing.StandardScaler):
    """A StandardScaler whose examples have weights and whose output is within CLIP.

    Reading it does not add features to it.
    """

    def __init__(self, memory: float = 1e6) -> None:
        super().__init__()
        self.memory = memory
        self.mass = 0.0  # weight of all examples; each example has all features

    def learn_one(self, x: dict[Any, Any], w: float = 1.0) -> None:
        if w <= 0:
            return
        self.mass = min(self.mass + w, self.memory)
        share, means, variances = w / self.mass, self.means, self.vars
        for name, value in x.items():
            apart = value - means[name]
            means[name] += share * apart
            variances[name] += share * (apart * (value - means[name]) - variances[name])

    def scale_in_turn(
        self, names: tuple[str, ...], rows: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Learn examples one by one, and return each as it is scaled then, (n, names).

        It does what `learn_one` and `transform_one` do in turn, for all examples in one call.
        """
        means, variances = (np.array([of[name] for name in names]) for of in (self.means, self.vars))
        scaled = np.empty(rows.shape)
        self.mass = _scale_in_turn(rows, weights, float(self.mass), float(self.memory), means, variances, scaled)
        self.means.update(zip(names, means.tolist(), strict=True))
        self.vars.update(zip(names, variances.tolist(), strict=True))
        return scaled

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        means, variances = self.means, self.vars
        scaled = {}
        for name, value in x.items():
            variance = variances.get(name, 0.0)
            if variance > 0.0:
                far = (value - means[name]) / sqrt(variance)
                scaled[name] = CLIP if far > CLIP else -CLIP if far < -CLIP else far
            else:
                scaled[name] = 0.0
        return scaled


@njit(cache=True)
def _scale_in_turn(
    rows: NDArray[np.float64],
    weights: NDArray[np.float64],
    mass: float,
    memory: float,
    means: NDArray[np.float64],
    variances: NDArray[np.float64],
    scaled: NDArray[np.float64],
) -> float:
    for i in range(rows.shape[0]):
        if weights[i] > 0:
            mass = min(mass + weights[i], memory)
        share = weights[i] / mass if weights[i] > 0 else 0.0
        for k in range(rows.shape[1]):
            if weights[i] > 0:
                apart = rows[i, k] - means[k]
                means[k] += share * apart
                variances[k] += share * (apart * (rows[i, k] - means[k]) - variances[k])
            scaled[i, k] = 0.0
            if variances[k] > 0.0:
                scaled[i, k] = min(max((rows[i, k] - means[k]) / sqrt(variances[k]), -CLIP), CLIP)
    return mass


class ExactLog(optim.losses.Log):
    """The log loss of single examples, with a sigmoid that is the same everywhere."""

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return sigmoid(y_pred) - y_true

    def mean_func(self, y_pred: Any) -> Any:
        return sigmoid(y_pred)


def sigmoid(z: float) -> float:
    """Return 1 / (1 + exp(-z)) to 2e-16, the same on every machine.

    Every machine rounds these operations alike.

    >>> sigmoid(0.0), round(sigmoid(1.0), 15)
    (0.5, 0.731058578630005)
    """
    size = min(abs(z), FAR)
    octaves = int(size * _LOG2_E + 0.5)
    rest = -((size - octaves * _LN2_HIGH) - octaves * _LN2_LOW)
    total = 0.0
    for term in TAYLOR:
        total = total * rest + term
    tail = ldexp(total, -octaves)  # exp(-|z|)
    return 1.0 / (1.0 + tail) if z >= 0 else tail / (1.0 + tail)


def build(
    names: tuple[str, ...], *, optimiser: str, learning_rate: float, l2: float, memory: float, state: dict[str, Any]
) -> compose.Pipeline:
    """Return the model from which `read` took this state."""
    kind, slots = OPTIMISERS[optimiser]
    optimizer = kind(learning_rate)
    regression = linear_model.LogisticRegression(
        optimizer, loss=ExactLog(), l2=l2, intercept_init=float(state["intercept"]), intercept_lr=learning_rate
    )
    scaler = WeightedScaler(memory)
    scaler.mass = state["mass"]
    for row, name in enumerate(names):
        scaler.means[name], scaler.vars[name] = float(state["mean"][row]), float(state["variance"][row])
        regression._weights[name] = float(state["coefficients"][row])
        for slot, values in zip(slots, state["slots"], strict=True):
            getattr(optimizer, slot)[name] = float(values[row])
    optimizer.n_iterations = int(state["n_examples"])
    return compose.Pipeline(("scaler", scaler), ("regression", regression))


def learn(
    model: compose.Pipeline,
    names: tuple[str, ...],
    rows: NDArray[np.float64],
    is_clicked: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> None:
    """Let a model learn examples one by one, as its own `learn_one` does.

    It takes two thirds of the time, because all examples are scaled in one call.

    rows: (n, names). weights: in [0, 1], (n,).
    """
    learn_one, scaled = model["regression"].learn_one, model["scaler"].scale_in_turn(names, rows, weights)
    for values, answer, weight in zip(scaled.tolist(), is_clicked.tolist(), weights.tolist(), strict=True):
        learn_one(dict(zip(names, values, strict=True)), answer, w=weight)


def read(model: compose.Pipeline, names: tuple[str, ...]) -> dict[str, Any]:
    """Return everything that determines a model's future.

    It holds numbers, and float64 (features,) arrays in the order of the names.
    """
    scaler, regression = model["scaler"], model["regression"]
    optimizer, weights = regression.optimizer, regression.weights
    slots = next(slots for kind, slots in OPTIMISERS.values() if type(optimizer) is kind)
    return {
        "mass": float(scaler.mass),
        "mean": np.array([scaler.means[name] for name in names], np.float64),
        "variance": np.array([scaler.vars[name] for name in names], np.float64),
        "coefficients": np.array([weights[name] for name in names], np.float64),
        "slots": np.array([[getattr(optimizer, slot)[name] for name in names] for slot in slots]).reshape(
            len(slots), len(names)
        ),
        "intercept": float(regression.intercept),
        "n_examples": int(optimizer.n_iterations),
    }
