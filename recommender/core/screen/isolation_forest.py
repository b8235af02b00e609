"""Isolation forests: measure how easily a row is told apart from cleared traffic.

    cleared rows ──> Reservoir ──> at fixed stream times: fit() by PyOD ──> flattened trees, holdout scores
                                                               rows ──> Forest.p_values(rows)

Each entity (actor, item window, network) has one small forest. PyOD fits it. Scoring walks the flattened trees in a
compiled loop, at 1 us a row where `decision_function` costs 10 ms a call. A test proves the two equal.

Thresholds are conformal: p = (1 + cleared rows of the holdout at least as strange) / (n + 1). If honest rows are like
the holdout, at most a share alpha of them is flagged at p <= alpha. `contamination` and `predict` are never used.

Path lengths are compared, not the scores made of them. They are sums of numbers stored with the trees, in one order,
so a verdict does not depend on a machine's exp2.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

N_TREES = 50
N_SAMPLES = 256
N_FIT = 2048  # rows of the reservoir that a forest is fitted on ...
STRIDE = 1237  # between the places of the first rows; coprime to the number of all rows
N_HOLDOUT = 1024  # ... and rows that its threshold is taken from

Float64s = NDArray[np.float64]
Float32s = NDArray[np.float32]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]


@njit(cache=True)
def path_lengths(
    rows: Float32s, roots: Int32s, feature: Int32s, threshold: Float64s, children: Int32s, length: Float64s
) -> Float64s:
    """Return the sum of a row's path lengths over the trees, float64 (n,).

    A short path is strange.
    """
    sums = np.zeros(rows.shape[0])
    for i in range(rows.shape[0]):
        total = 0.0
        for root in roots:
            node = root
            while feature[node] >= 0:
                node = children[node, 0] if rows[i, feature[node]] <= threshold[node] else children[node, 1]
            total += length[node]
        sums[i] = total
    return sums


@njit(cache=True)
def find_strange(
    features: Float64s,
    flags: Int32s,
    asked: int,
    entity: Int64s,
    first_column: Int64s,
    limit: Float64s,
    first_tree: Int64s,
    roots: Int32s,
    nodes: Float64s,
    strange: NDArray[np.uint8],
) -> None:
    """Find rows with the flag `asked` whose path is shorter than a forest's limit.

    The forests are those of a `packed`. The bits of the entities whose forest flagged a row are written into
    `strange`, (n,). Entity 1 is asked only where another has flagged the row.

    Lengths only add up, so most rows are done after half of the trees. Rows are rounded and lengths added as in
    `path_lengths`, so the answer is the same.
    """
    for i in range(features.shape[0]):
        if not flags[i] & asked:
            continue
        for k in range(limit.size):
            if strange[i] & entity[k] or (entity[k] == 1 and not strange[i]):
                continue
            total = 0.0
            for root in roots[first_tree[k] : first_tree[k + 1]]:
                node = root
                while nodes[node, 0] >= 0:
                    value = np.float32(features[i, first_column[k] + int(nodes[node, 0])])
                    node = np.int32(nodes[node, 2] if value <= nodes[node, 1] else nodes[node, 3])
                total += nodes[node, 1]
                if total >= limit[k]:
                    break
            if total < limit[k]:
                strange[i] |= entity[k]


@njit(cache=True)
def find_paths(
    features: Float64s, first_column: Int64s, first_tree: Int64s, roots: Int32s, nodes: Float64s
) -> Float64s:
    """Return the result of `path_lengths` in each forest of a `packed`, (n, forests).

    It goes tree by tree, so that a tree stays in the cache for all rows.
    """
    sums = np.zeros((features.shape[0], first_column.size))
    for k in range(first_column.size):
        for root in roots[first_tree[k] : first_tree[k + 1]]:
            for i in range(features.shape[0]):
                node = root
                while nodes[node, 0] >= 0:
                    value = np.float32(features[i, first_column[k] + int(nodes[node, 0])])
                    node = np.int32(nodes[node, 2] if value <= nodes[node, 1] else nodes[node, 3])
                sums[i, k] += nodes[node, 1]
    return sums


@dataclass(frozen=True, slots=True)
class Forest:
    """Flattened trees.

    roots: (trees,).
    feature, threshold, children: by node, feature -1 for a leaf, children (.., 2).
    length: by node, the path to it and the expected rest.
    holdout: path lengths of cleared rows that it was not fitted on, ascending.
    """

    roots: Int32s
    feature: Int32s
    threshold: Float64s
    children: Int32s
    length: Float64s
    holdout: Float64s

    def paths(self, rows: Float32s) -> Float64s:
        """Return the sums of path lengths, (n,)."""
        return path_lengths(rows, self.roots, self.feature, self.threshold, self.children, self.length)

    def p_values(self, rows: Float32s) -> Float64s:
        """Return the share of cleared rows at least as strange, in (0, 1], (n,)."""
        return self.p_values_of(self.paths(rows))

    def p_values_of(self, paths: Float64s) -> Float64s:
        """Return the p-values of rows whose paths are known."""
        at_least = np.searchsorted(self.holdout, paths, side="right")
        return np.asarray((1 + at_least) / (len(self.holdout) + 1))

    def limit(self, alpha: float) -> float:
        """Return the path length that separates the flagged rows from the rest.

        Exactly the rows below it have a p-value of at most alpha.
        """
        p_values = np.arange(1, len(self.holdout) + 2) / (len(self.holdout) + 1)
        n_allowed = int(np.count_nonzero(p_values <= alpha)) - 1  # rows of the holdout at least as strange
        if n_allowed < 0:
            return -np.inf
        return float(self.holdout[n_allowed]) if n_allowed < len(self.holdout) else np.inf

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in self.__dataclass_fields__}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**{name: state[name].copy() for name in cls.__dataclass_fields__})


Pack = tuple[NDArray[Any], ...]  # the arguments of `find_strange` between asked and strange


def packed(forests: list[tuple[int, int, Forest]], alpha: float) -> Pack:
    """Pack forests for `find_strange`, with the limits that flag a share alpha.

    forests: each with its entity's bit and its first column, in the order in which they are asked.

    A node is one row, so that it costs one line of the cache. The row is (feature, threshold, children), or (-1,
    length) for a leaf.
    """
    nodes, roots, n_nodes = [], [], 0
    for *_, forest in forests:
        is_leaf = forest.feature < 0
        threshold = np.where(is_leaf, forest.length, forest.threshold)
        nodes.append(np.column_stack([forest.feature, threshold, forest.children + n_nodes]))
        roots.append(forest.roots + n_nodes)
        n_nodes += len(forest.feature)
    return (
        np.array([bit for bit, *_ in forests], np.int64),
        np.array([column for _, column, _ in forests], np.int64),
        np.array([forest.limit(alpha) for *_, forest in forests]),
        np.cumsum([0] + [len(forest.roots) for *_, forest in forests]),
        np.concatenate(roots).astype(np.int32),
        np.concatenate(nodes),
    )


def fit(rows: Float32s, holdout: Float32s, seed: int) -> Forest:
    """Fit a forest on cleared rows, float32 (n, d).

    The same rows and seed give the same forest.
    """
    # Imported here, since it takes 2 s and 190 MB. A process that never fits does not pay for it.
    from pyod.models.iforest import IForest  # noqa: PLC0415

    model = IForest(n_estimators=N_TREES, max_samples=min(N_SAMPLES, len(rows)), random_state=seed, n_jobs=1)
    return flattened(model.fit(rows), holdout)


def flattened(model: Any, holdout: Float32s) -> Forest:
    """Return the trees of a fitted `pyod.models.iforest.IForest` as arrays."""
    parts: dict[str, list[NDArray[Any]]] = {"feature": [], "threshold": [], "children": [], "length": []}
    roots, n_nodes = [], 0
    for estimator in model.detector_.estimators_:
        tree = estimator.tree_
        children = np.stack([tree.children_left, tree.children_right], axis=1)
        depth = np.zeros(tree.node_count)
        for node in range(tree.node_count):  # a parent comes before its children
            if children[node, 0] >= 0:
                depth[children[node]] = depth[node] + 1
        parts["feature"].append(np.where(children[:, 0] < 0, -1, tree.feature))
        parts["threshold"].append(tree.threshold)
        parts["children"].append(children + n_nodes)
        parts["length"].append(depth + expected_path(tree.n_node_samples))
        roots.append(n_nodes)
        n_nodes += tree.node_count
    forest = Forest(
        np.array(roots, np.int32),
        np.concatenate(parts["feature"]).astype(np.int32),
        np.concatenate(parts["threshold"]).astype(np.float64),
        np.concatenate(parts["children"]).astype(np.int32),
        np.concatenate(parts["length"]),
        np.empty(0),
    )
    return Forest(**forest.state() | {"holdout": np.sort(forest.paths(holdout))})


def expected_path(n_samples: NDArray[Any]) -> Float64s:
    """Return the mean path length of an unsuccessful search among n.

    See Liu et al., *Isolation Forest*, ICDM 2008, eq. 1.
    """
    n = np.asarray(n_samples, np.float64)
    large = np.maximum(n, 3)
    mean = 2 * (np.log(large - 1) + np.euler_gamma) - 2 * (large - 1) / large
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, mean))


@njit(cache=True)
def enter(reservoir: Float32s, n_before: int, seed: int, rows: Float64s, is_chosen: NDArray[np.uint8]) -> int:
    """Put the chosen rows in their places, in order.

    Of two rows for one place the later one stays. Returns the new number of rows.
    """
    size, n = reservoir.shape[0], n_before
    for i in range(rows.shape[0]):
        if not is_chosen[i]:
            continue
        number = np.uint64(n)
        if n < size:
            place = number * np.uint64(STRIDE) % np.uint64(size)
        else:
            x = (number + np.uint64(seed) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            place = (x ^ (x >> np.uint64(31))) % np.uint64(size)
        reservoir[place] = rows[i]
        n += 1
    return n


class Reservoir:
    """The last few thousand cleared rows.

    A new row replaces one that a keyed hash of its number chooses (Aggarwal's biased reservoir, VLDB 2006). So rows
    fade as new ones come. Forests are fitted on the first N_FIT places, and the rest is held out. No row is ever in
    both.
    """

    def __init__(self, n_features: int, seed: int) -> None:
        self.rows = np.zeros((N_FIT + N_HOLDOUT, n_features), np.float32)
        self.n = 0
        self._seed = seed

    def add(self, rows: NDArray[Any], is_cleared: NDArray[np.uint8]) -> None:
        """Add those rows, (n, d), that are cleared, (n,)."""
        self.n = enter(self.rows, self.n, self._seed, rows, is_cleared)

    def filled(self) -> Float32s:
        """Return all cleared rows, at most N_FIT + N_HOLDOUT.

        If the reservoir is full, this is no copy.
        """
        return self.rows if self.n >= len(self.rows) else np.concatenate(self.split())

    def split(self) -> tuple[Float32s, Float32s]:
        """Return the rows to fit on and the rows held out, as far as they are filled."""
        is_filled = np.zeros(len(self.rows), np.bool_)
        is_filled[_shuffled(np.arange(min(self.n, len(self.rows)), dtype=np.uint64), len(self.rows))] = True
        return self.rows[:N_FIT][is_filled[:N_FIT]], self.rows[N_FIT:][is_filled[N_FIT:]]

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows.copy() if self.n else self.rows[:0].copy(), "n": self.n}

    def restore(self, state: dict[str, Any]) -> None:
        self.n = state["n"]
        if self.n:
            self.rows[:] = state["rows"]


def _shuffled(numbers: NDArray[np.uint64], size: int) -> NDArray[np.int64]:
    """Return distinct places for the first rows, so that both parts fill evenly."""
    return ((numbers * np.uint64(STRIDE)) % np.uint64(size)).astype(np.int64)
