"""Attack rows merged into a log, Parquet in, Parquet out.

    log (any columns) + plans ──> the same rows in the same order, the attack's among them by time, and two columns
                                  beside: `label` (int8, 1 = manipulation) and `attack` (its code, null for the rest)

Every row of the log is kept, columns of its own included. Of an attack row only what the log has a column for is
kept, where it fits the column's type; the rest is null. (An address where no other row has one would be a label.)
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recommender.core.parquet_log import REQUIRED, LogFileError
from recommender.lab.attack.catalogue.attack_base import Plan
from recommender.lab.attack.catalogue.known_site import TEXT_COLUMNS

IDS = ("actor", "item")


def read_log(path: Path, *, limit: int | None = None) -> pl.DataFrame:
    """A log as it stands, at most `limit` rows. Raises LogFileError."""
    try:
        frame = pl.scan_parquet(path)
        missing = [name for name in REQUIRED if name not in frame.collect_schema()]
        if missing:
            raise LogFileError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(REQUIRED)}")
        log = frame.head(limit).collect() if limit else frame.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LogFileError(f"{path} cannot be read as Parquet: {error}") from error
    if not log["ts"].is_sorted():
        raise LogFileError(f"{path}: rows are not sorted by ts")
    return log


def inject(log: pl.DataFrame, plans: Sequence[tuple[str, Plan]]) -> pl.DataFrame:
    """The log with the plans in it. Of rows at one time, the log's own come first."""
    if "label" not in log.columns:
        log = log.with_columns(pl.lit(0, pl.Int8).alias("label"))
    if "attack" not in log.columns:
        log = log.with_columns(pl.lit(None, pl.String).alias("attack"))
    parts = [log]
    for code, plan in plans:
        label = 0 if plan.goal == "benign" else 1
        rows = plan.rows.with_columns(pl.lit(label, pl.Int8).alias("label"), pl.lit(code).alias("attack"))
        parts.append(rows.select(_fitted(name, log.schema[name]) for name in log.columns if name in rows.columns))
    for name in IDS:  # a number where ids are numbers, if every id is one
        if any(part[name].null_count() for part in parts[1:]):
            parts[0] = parts[0].with_columns(pl.col(name).cast(pl.String))
            parts[1:] = [part.with_columns(plan.rows[name]) for part, (_, plan) in zip(parts[1:], plans, strict=True)]
    return pl.concat(parts, how="diagonal").sort("ts", maintain_order=True)


def _fitted(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String or name not in (*TEXT_COLUMNS, "ts", "label", "attack"):
        return pl.col(name)
    return pl.col(name).cast(dtype, strict=False)
