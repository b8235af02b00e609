"""Small logs for the batch cycle: a site of a few days, in files."""

from pathlib import Path

import numpy as np
import polars as pl

T0_S = 1_767_571_200.0  # midnight, 2026-01-05
HOUR_S = 3600.0


def site(hours=30, n_events=4000, n_actors=300, n_items=60, seed=1, story=True) -> pl.DataFrame:
    """Make readers who come back, and items of unequal popularity.

    story: add a story that breaks in hour 26.
    """
    rng = np.random.default_rng(seed)
    at = np.sort(rng.random(n_events)) * hours * HOUR_S
    pull = 1 / np.arange(1, n_items + 1)
    items = rng.choice(n_items, n_events, p=pull / pull.sum())
    actors = rng.integers(0, n_actors, n_events)
    rows = pl.DataFrame(
        {
            "ts": T0_S + at,
            "actor": [f"reader-{number}" for number in actors.tolist()],
            "item": [f"item-{number}" for number in items.tolist()],
        }
    )
    if story:
        n = 200
        crowd = pl.DataFrame(
            {
                "ts": T0_S + 26 * HOUR_S + 600 + np.sort(rng.random(n)) * 1800,
                "actor": [f"reader-{number}" for number in rng.permutation(n_actors)[:n].tolist()],
                "item": ["story"] * n,
            }
        )
        rows = pl.concat([rows, crowd])
    return rows.sort("ts").with_columns(pl.col("ts").round(3), pl.lit("click").alias("kind"))


def written(frame: pl.DataFrame, path: Path) -> Path:
    """Write a frame to a file of the kind that its name shows."""
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path
