"""Speed of the Pipeline in this process and on one core.

The ceiling is np.add.at over the same arrays. The batches are those of a learner at work, with ids as text and 4,096
events each. The budget is about the time of a step alone. A second figure also counts `encode`, which turns ids into
keys. The first batch does not count, because it compiles the kernels.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings

from recommender.core.pipeline import Pipeline
from recommender.lab.bench import event_stream
from recommender.lab.bench.results import BenchRow
from recommender.learning.pipeline_settings import configured

BATCH = 4096
BUDGET = 50_000
REAL_LOG = "globo_news.parquet"
MAX_ROWS = 1_000_000
STREAM_RATE = 20_000  # events per second of the generated stream's own time


def measure(*, seed: int, seconds: float) -> Iterator[BenchRow]:
    """Yield rows for the generated stream, and for the real log if there is one."""
    yield from _measure("generated stream", _generated(seed), seconds)
    real = real_log()
    if real:
        yield from _measure(REAL_LOG, _real(real), seconds)


def real_log() -> Path | None:
    """Find the real log of a news site, in $GROUNDSWELL_DATA or next to the project."""
    folder = Path(os.environ.get("GROUNDSWELL_DATA") or settings.BASE_DIR.parent / "shared" / "data")
    path = folder / REAL_LOG
    return path if path.exists() else None


def _measure(name: str, batches: Iterator[dict[str, Any]], seconds: float) -> Iterator[BenchRow]:
    pipeline = Pipeline(replace(configured(), secret=""))
    pipeline.ranker.prepare()
    pipeline.step(pipeline.encode(**next(batches)))
    codes: list[np.ndarray] = []
    n_events, encode_s, step_s = 0, 0.0, 0.0
    stop_at = time.perf_counter() + seconds
    for columns in batches:
        began_at = time.perf_counter()
        batch = pipeline.encode(**columns)
        encoded_at = time.perf_counter()
        pipeline.step(batch)
        ended_at = time.perf_counter()
        n_events += len(batch)
        encode_s += encoded_at - began_at
        step_s += ended_at - encoded_at
        codes.append(batch.item)
        if ended_at > stop_at:
            break
    ceiling, of = _add_at(codes), "np.add.at"
    note = f"{n_events:,} events, one core, batch {BATCH:,}"
    yield BenchRow(
        measure=f"step: {name}",
        value=n_events / step_s,
        unit="events/s",
        budget=BUDGET,
        ceiling=ceiling,
        of=of,
        note=note,
    )
    with_encode = n_events / (step_s + encode_s)
    yield BenchRow(
        measure=f"step with ids to keys: {name}", value=with_encode, unit="events/s", ceiling=ceiling, of=of
    )


def _add_at(keys: list[np.ndarray]) -> float:
    """Return the events per second of just adding one to each event's item.

    The batches have the same size.
    """
    n_items = 0
    dense = []
    known: dict[int, int] = {}
    for batch in keys:
        dense.append(np.array([known.setdefault(key, len(known)) for key in batch.tolist()]))
        n_items = len(known)
    counts = np.zeros(n_items)
    began_at = time.perf_counter()
    for items in dense:
        np.add.at(counts, items, 1.0)
    return sum(map(len, dense)) / (time.perf_counter() - began_at)


def _generated(seed: int) -> Iterator[dict[str, Any]]:
    made = event_stream.columns(MAX_ROWS, seed=seed)
    for start in range(0, MAX_ROWS, BATCH):
        rows = slice(start, start + BATCH)
        n = len(made.item[rows])
        yield {
            "received_ms": 1_700_000_000_000 + (start + np.arange(n)) * 1000 // STREAM_RATE,
            "actors": [f"a{actor}" for actor in made.actor[rows].tolist()],
            "items": [f"item-{item}" for item in made.item[rows].tolist()],
            "kind": event_stream.KIND_CODES[made.kind[rows]],
        }


def _real(path: Path) -> Iterator[dict[str, Any]]:
    frame = pl.scan_parquet(path).select("ts", pl.col("actor", "item").cast(pl.String)).head(MAX_ROWS).collect()
    for start in range(0, len(frame), BATCH):
        rows = frame.slice(start, BATCH)
        yield {
            "received_ms": (rows["ts"] * 1000).cast(pl.Int64).to_numpy(),
            "actors": rows["actor"].to_list(),
            "items": rows["item"].to_list(),
        }
