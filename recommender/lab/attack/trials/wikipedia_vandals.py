"""Outside check: the screen's view of actors that people later blocked as vandals.

    wikipedia_vandals (edits, half of the actors later blocked) ──> Pipeline, verdicts and scores by event
                                                               ──> by actor: AUC, precision and recall

Edits come as clicks, and the screen never sees a label. All choices are made on actors first seen in the first half
of the time. These are how the scores of events make an actor's score, the threshold of an alarm, and the features of
core.screen.suspicion. The figures of the second half played no part in them.

A detector of campaigns is not made for such vandals. They do not push items, most of them act alone, and the log has
neither addresses nor user agents.

Beware of one fact that helps the screen: a blocked vandal stops, so vandals have few events, all of them early. On
their first three events alone the screen does less well (`auc_of_first_events`).
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.pipeline import Config, Pipeline
from recommender.core.vocabulary import MINUTE_MS
from recommender.lab.attack import batch_columns
from recommender.lab.attack.catalogue.known_site import as_text
from recommender.lab.attack.defences import defence_kinds
from recommender.lab.attack.defences.defences import Product
from recommender.lab.attack.trials.run_metrics import auc, average_precision

STEP_MS = MINUTE_MS
AGGREGATES = ("max", "mean", "last")
FIRST_EVENTS = 3
HONEST_FLAGGED = 0.01  # share of the honest actors of the first half that may be flagged


@dataclass(frozen=True, slots=True)
class JudgedActors:
    """Results by actor.

    label: whether the actor was later blocked.
    first_ms: when it was first seen (ms).
    is_stopped: whether any of its events was stopped.
    scores: its score by each aggregate; `early` is the mean of its first events.
    """

    label: NDArray[np.bool_]
    first_ms: NDArray[np.int64]
    is_stopped: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]


def check(path: Path, config: Config) -> dict[str, Any]:
    """Return the figures in values that JSON takes: the choices, then each half."""
    log = as_text(pl.read_parquet(path, columns=["ts", "actor", "item", "label"]))
    judged = judge(log, config)
    middle_ms = (judged.first_ms.min() + judged.first_ms.max()) // 2
    is_first = judged.first_ms < middle_ms
    by = {name: auc(judged.label[is_first], judged.scores[name][is_first]) for name in AGGREGATES}
    chosen = max(AGGREGATES, key=lambda name: by[name])
    honest = judged.scores[chosen][is_first & ~judged.label]
    threshold = float(np.quantile(honest, 1 - HONEST_FLAGGED, method="higher"))
    return {
        "chosen_on": "first half",
        "score": chosen,
        "threshold": round(threshold, 4),
        "first_half": _figures(judged, is_first, chosen, threshold),
        "second_half": _figures(judged, ~is_first, chosen, threshold),
    }


def _figures(judged: JudgedActors, rows: NDArray[np.bool_], chosen: str, threshold: float) -> dict[str, Any]:
    label, score = judged.label[rows], judged.scores[chosen][rows]
    return {
        "actors": len(label),
        "vandals": int(label.sum()),
        "auc": round(auc(label, score), 4),
        "auc_of_first_events": round(auc(label, judged.scores["early"][rows]), 4),
        "average_precision": round(average_precision(label, score.astype(np.float32)) or 0.0, 4),
        "flagged": _caught(label, score > threshold),
        "stopped": _caught(label, judged.is_stopped[rows]),
    }


def _caught(label: NDArray[np.bool_], is_alarm: NDArray[np.bool_]) -> dict[str, float]:
    n, n_caught = int(is_alarm.sum()), int((label & is_alarm).sum())
    return {
        "actors": n,
        "precision": round(n_caught / max(1, n), 4),
        "recall": round(n_caught / max(1, int(label.sum())), 4),
        "honest": round((n - n_caught) / max(1, int((~label).sum())), 4),
    }


def judge(log: pl.DataFrame, config: Config) -> JudgedActors:
    """Fold a labelled log in steps of a minute. The Pipeline is not given the label."""
    product = Product(defence_kinds.switched(config, trust=True, screen=True))
    batch = batch_columns.encode(Pipeline(config), log.select("ts", "actor", "item"))
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
            pl.col("score").head(FIRST_EVENTS).mean().alias("early"),
        )
    )
    return JudgedActors(
        actors["label"].to_numpy(),
        actors["at_ms"].to_numpy(),
        actors["stopped"].to_numpy(),
        {name: actors[name].to_numpy() for name in (*AGGREGATES, "early")},
    )
