"""An outside check: does the screen, which never saw a label, rank actors that people later blocked as vandals?

    wikipedia_vandals (edits, half of the actors later blocked) ──> Pipeline, verdicts and scores by event
                                                               ──> by actor: AUC, precision and recall

Edits come as clicks. What is chosen here (how an actor's score is made of its events') is chosen on the first half of
the time; the figures are of actors first seen in the second half. Vandals of an encyclopaedia do not push items, most
act alone, and the log has neither addresses nor user agents; a detector of campaigns is not made for them.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.attack import columns, defences
from recommender.attack.metrics import auc
from recommender.attack.world import as_text
from recommender.core.pipeline import Config, Pipeline

STEP_MS = 60_000
AGGREGATES = ("max", "mean", "last")


@dataclass(frozen=True, slots=True)
class Judged:
    """By actor: label, when first seen (ms), whether any event was stopped, and its score by each aggregate."""

    label: NDArray[np.bool_]
    first_ms: NDArray[np.int64]
    is_stopped: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]


def check(path: Path, config: Config) -> dict[str, Any]:
    """The figures, as JSON takes them."""
    log = as_text(pl.read_parquet(path, columns=["ts", "actor", "item", "label"]))
    judged = judge(log, config)
    middle_ms = (judged.first_ms.min() + judged.first_ms.max()) // 2
    is_tuned = judged.first_ms < middle_ms
    by = {name: auc(judged.label[is_tuned], score[is_tuned]) for name, score in judged.scores.items()}
    chosen = max(AGGREGATES, key=lambda name: by[name])
    label, stopped = judged.label[~is_tuned], judged.is_stopped[~is_tuned]
    caught = int((label & stopped).sum())
    return {
        "actors": len(label),
        "vandals": int(label.sum()),
        "score": chosen,
        "auc_first_half": round(by[chosen], 4),
        "auc": round(auc(label, judged.scores[chosen][~is_tuned]), 4),
        "stopped": int(stopped.sum()),
        "precision": round(caught / max(1, int(stopped.sum())), 4),
        "recall": round(caught / max(1, int(label.sum())), 4),
        "honest_stopped": round(float((stopped & ~label).sum()) / max(1, int((~label).sum())), 4),
    }


def judge(log: pl.DataFrame, config: Config) -> Judged:
    """Fold a labelled log in steps of a minute; the label is not among the columns the Pipeline is given."""
    product = defences.Product(defences.switched(config, trust=True, screen=True))
    batch = columns.encode(Pipeline(config), log.select("ts", "actor", "item"))
    steps = np.flatnonzero(np.diff(batch.received_ms // STEP_MS)) + 1
    edges = [0, *steps.tolist(), len(batch)]
    verdict, score = np.zeros(len(batch), np.int8), np.zeros(len(batch), np.float64)
    for first, end in pairwise(edges):
        verdicts, revised = product.step(batch[slice(first, end)])
        verdict[first:end], score[first:end] = verdicts.verdict, verdicts.score
        verdict[revised.ordinal] = np.maximum(verdict[revised.ordinal], revised.verdict)  # a hold was an alarm
    actors = (
        log.select("actor", "label")
        .with_columns(
            pl.Series("at_ms", batch.received_ms), pl.Series("stopped", verdict != 0), pl.Series("score", score)
        )
        .group_by("actor", maintain_order=True)
        .agg(
            pl.col("label").max() == 1,
            pl.col("at_ms").min(),
            pl.col("stopped").any(),
            pl.col("score").max().alias("max"),
            pl.col("score").mean().alias("mean"),
            pl.col("score").last().alias("last"),
        )
    )
    return Judged(
        actors["label"].to_numpy(),
        actors["at_ms"].to_numpy(),
        actors["stopped"].to_numpy(),
        {name: actors[name].to_numpy() for name in AGGREGATES},
    )
