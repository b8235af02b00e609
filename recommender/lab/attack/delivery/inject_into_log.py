"""Merge the rows of attacks into a log, Parquet in and Parquet out.

    log (any columns) + plans ──> the same rows in the same order, the attack's rows among them by time, and the
                                  columns `label` (int8, 1 = manipulation) and `attack` (its code, else null)

Every row of the log is kept with all its columns. An attack row keeps the columns that the log also has, if their
values fit the column's type. Other columns become null. An address where no other row has one would be a label.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recommender.core.parquet_log import REQUIRED, LogFileError
from recommender.lab.attack.catalogue.attack_base import Plan
from recommender.lab.attack.catalogue.known_site import TEXT_COLUMNS

IDS = ("actor", "item")


def read_log(path: Path, *, limit: int | None = None) -> pl.DataFrame:
    """Read a log as it is, at most `limit` rows. Raises LogFileError."""
    try:
        frame = pl.scan_parquet(path)
        missing = [name for name in REQUIRED if name not in frame.collect_schema()]
        if missing:
            raise LogFileError(f"{path} has no column {', '.join(missing)}. A log needs {', '.join(REQUIRED)}.")
        log = frame.head(limit).collect() if limit else frame.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LogFileError(f"{path} cannot be read as Parquet: {error}") from error
    if not log["ts"].is_sorted():
        raise LogFileError(f"the rows of {path} are not sorted by ts. Sort them first.")
    return log


def inject(log: pl.DataFrame, plans: Sequence[tuple[str, Plan]]) -> pl.DataFrame:
    """Merge the plans into the log. At equal times, the log's own rows come first."""
    if "label" not in log.columns:
        log = log.with_columns(pl.lit(0, pl.Int8).alias("label"))
    if "attack" not in log.columns:
        log = log.with_columns(pl.lit(None, pl.String).alias("attack"))
    parts = [log]
    for code, plan in plans:
        label = 0 if plan.goal == "benign" else 1
        rows = plan.rows.with_columns(pl.lit(label, pl.Int8).alias("label"), pl.lit(code).alias("attack"))
        parts.append(rows.select(_fitted(name, log.schema[name]) for name in log.columns if name in rows.columns))
    for name in IDS:  # ids stay numbers if the log has numbers and every attack id is one
        if any(part[name].null_count() for part in parts[1:]):
            parts[0] = parts[0].with_columns(pl.col(name).cast(pl.String))
            parts[1:] = [part.with_columns(plan.rows[name]) for part, (_, plan) in zip(parts[1:], plans, strict=True)]
    return pl.concat(parts, how="diagonal").sort("ts", maintain_order=True)


def _fitted(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String or name not in (*TEXT_COLUMNS, "ts", "label", "attack"):
        return pl.col(name)
    return pl.col(name).cast(dtype, strict=False)
