"""A factorisation fitted in one go, as a yardstick of a nightly batch.

    the last MAX_FITTED acts before the test ──> actors x items, sparse ──implicit's ALS──> factors
    the test's first clicks, every n-th ──> is the item among the actor's first 20 it has not seen?

It shows the predictions of a nightly batch with a good library. Strangers get the most read of the fitted acts, as in
any such system. It is fitted once, at the split, and learns nothing in the test. The learner cannot serve it: it
forgets nothing, removes no one, and has no margin.

Memory: 12 bytes per fitted act and its id while it is numbered, factors of 4 bytes, and the pairs of the actors asked
about. It needs the optional library `implicit`.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

ASKED_DEPTH = 20  # places of a list that a question looks at
FITTED_BYTES = 600  # per row, while ids become numbers
MAX_FITTED = 2_000_000
MAX_ASKED = 20_000
MAX_TEST = 2_000_000  # acts of the test that are used
FACTORS, ITERATIONS, SEED = 32, 8, 1


@dataclass(frozen=True, slots=True)
class YardstickResult:
    """The results of the yardstick.

    n: predictions. hits, reciprocal_ranks: of the first 20 places. n_fitted: acts it was fitted on.
    """

    n: int
    hits: int
    reciprocal_ranks: float
    n_fitted: int
    n_bytes: int


def is_there() -> bool:
    """Return whether the library is installed."""
    return importlib.util.find_spec("implicit") is not None


def measure(rows: pl.LazyFrame, split_s: float, *, n_bytes: int) -> YardstickResult | None:
    """Fit on the rows before a time and ask about those after it.

    Returns None if there is too little to fit.
    """
    n_fitted = min(MAX_FITTED, n_bytes // FITTED_BYTES)
    pairs = rows.select("ts", pl.col("actor", "item").cast(pl.String))
    known = pairs.filter(pl.col("ts") < split_s).tail(n_fitted).collect(engine="streaming")
    if known["item"].n_unique() <= ASKED_DEPTH or known["actor"].n_unique() < 2:
        return None
    actors, items = _numbers(known["actor"]), _numbers(known["item"])
    matrix = _matrix(known, actors, items)
    model = fit(matrix)
    popular = np.argsort(-np.asarray(matrix.sum(axis=0)).ravel(), kind="stable")
    test = pairs.filter(pl.col("ts") >= split_s).head(MAX_TEST).collect(engine="streaming")
    places = list(_places(model, matrix, popular, _asked(known, test, actors, items)))
    hits = [place for place in places if place]
    taken = matrix.data.nbytes + matrix.indices.nbytes + model.user_factors.nbytes + model.item_factors.nbytes
    return YardstickResult(len(places), len(hits), sum(1 / place for place in hits), len(known), taken)


def _numbers(ids: pl.Series) -> pl.DataFrame:
    """Return a frame of ids and their numbers, with the columns id and number."""
    return pl.DataFrame({"id": ids.unique().sort()}).with_row_index("number")


def _matrix(known: pl.DataFrame, actors: pl.DataFrame, items: pl.DataFrame) -> Any:
    from scipy.sparse import csr_matrix  # noqa: PLC0415  with `implicit`, half a second that only this needs

    numbered = _numbered(known, actors, items)
    where = (numbered["actor"].to_numpy(), numbered["item"].to_numpy())
    ones = np.ones(len(numbered), np.float32)
    return csr_matrix((ones, where), shape=(len(actors), len(items)), dtype=np.float32)


def _numbered(rows: pl.DataFrame, actors: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with ids as numbers, -1 for unknown ids."""
    frame = rows.join(
        actors.rename({"number": "a"}), left_on="actor", right_on="id", how="left", maintain_order="left"
    )
    frame = frame.join(
        items.rename({"number": "i"}), left_on="item", right_on="id", how="left", maintain_order="left"
    )
    return frame.select(
        "ts",
        pl.col("a").cast(pl.Int64).fill_null(-1).alias("actor"),
        pl.col("i").cast(pl.Int64).fill_null(-1).alias("item"),
    )


def fit(matrix: Any) -> Any:
    """Fit the factorisation of a sparse matrix of actors x items.

    The peers use it too.
    """
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415  optional
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  with `implicit`

    with threadpool_limits(1, "blas"):  # two sets of threads would get in each other's way
        model = AlternatingLeastSquares(factors=FACTORS, iterations=ITERATIONS, random_state=SEED, num_threads=1)
        model.fit(matrix, show_progress=False)
    return model


def _asked(
    known: pl.DataFrame, test: pl.DataFrame, actors: pl.DataFrame, items: pl.DataFrame
) -> list[tuple[int, int, NDArray[np.int64]]]:
    """Return the questions: every n-th first click of the test.

    Each has the actor, the item, and the items that the actor has seen earlier in the test.
    """
    first = test.unique(["actor", "item"], keep="first", maintain_order=True)
    first = first.join(
        known.select("actor", "item").unique(), on=["actor", "item"], how="anti", maintain_order="left"
    )
    numbered = _numbered(first, actors, items).with_columns(first["actor"].alias("id"))
    earlier = numbered.with_columns(
        pl.col("item").cum_count().over("id").alias("nth"), pl.int_range(pl.len()).alias("row")
    )
    every = max(1, -(-len(earlier) // MAX_ASKED))
    asked = earlier.filter(pl.col("row") % every == 0)
    seen = earlier.join(asked.select("id").unique(), on="id", how="semi", maintain_order="left")
    of_actor = {str(id): part["item"].to_numpy() for (id,), part in seen.group_by("id", maintain_order=True)}
    return [(row["actor"], row["item"], of_actor[row["id"]][: row["nth"] - 1]) for row in asked.iter_rows(named=True)]


def _places(model: Any, matrix: Any, popular: NDArray[np.int64], asked: list[Any]) -> Iterator[int]:
    """Yield each item's place among the first 20 that the actor has not seen, or 0."""
    for actor, item, seen in asked:
        if item < 0:  # new since the fit
            yield 0
            continue
        deep = ASKED_DEPTH + len(seen)
        if actor >= 0:
            listed = model.recommend(actor, matrix[actor], N=deep, filter_already_liked_items=True)[0]
        else:
            listed = popular[:deep]
        unseen = [each for each in listed.tolist() if each not in set(seen.tolist())][:ASKED_DEPTH]
        yield unseen.index(item) + 1 if item in unseen else 0
