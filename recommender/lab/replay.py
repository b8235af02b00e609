"""Replay a log file through a fresh Pipeline with exactly the learner's code.

    LogFile.steps ──> Pipeline.step ──> verdicts.parquet   a row an event: row, verdict, score, reasons, and was_held
                                   ├──> boards.parquet     every 10 s of stream time: ts, rank, item, score, margins;
                                   │                       `margin_clickers` on the first of a minute, else null
                                   └──> summary.json       counts, HR@20 and MRR@20, events/s, digest

`verdict` is the final verdict. An event released from a hold is admitted and `was_held`. An event removed later is
quarantined. `reasons` are words joined by commas. Evidence (core.screen.evidence) is for reviewers of a running site
and is left out.

If the log has labels of manipulation, they are read here to score the verdicts. The Pipeline never sees them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from recommender.core.fold.step_result import StepResult
from recommender.core.parquet_log import LogFile
from recommender.core.pipeline import Config, Pipeline
from recommender.core.quality.evaluation import LISTS
from recommender.core.trend import count_breakdowns
from recommender.core.trend.place_prices import fewest_clickers, margins, networks
from recommender.core.vocabulary import HOLD, MINUTE_MS, SECOND_MS, Verdict, reason_names

BOARD_EVERY_MS = 10 * SECOND_MS
KEPT_DEPTH = 20
CLICKERS_EVERY_MS = MINUTE_MS  # each needs a pass over all (actor, item) pairs
MARGINS = ("margin_actors", "margin_trust", "margin_networks", "margin_clickers")
STEP_MS = SECOND_MS


@dataclass(slots=True)
class BoardColumns:
    """The boards of a replay, as columns."""

    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in ("ts", "rank", "item", "score", *MARGINS)}
    )
    clickers_due_ms: int = 0

    def add(self, pipeline: Pipeline, at_ms: int) -> None:
        """Append the first places as they are at the end of a step."""
        board = pipeline.board(KEPT_DEPTH + 1)
        counts = board.counts.tolist()
        listed, outside = counts[:KEPT_DEPTH], counts[KEPT_DEPTH] if len(counts) > KEPT_DEPTH else 0
        actors, trust = margins(listed, outside, board.unit, board.fresh)
        prefixes = networks(listed, outside, board.network)
        n = len(listed)
        clickers: list[int | None] = [None] * n
        if at_ms >= self.clickers_due_ms:
            sizes = count_breakdowns.sizes(pipeline.trend, n)
            told = zip(board.items[:n], listed, strict=True)
            clickers = [fewest_clickers(sizes[item], count - outside) for item, count in told]
            self.clickers_due_ms = (at_ms // CLICKERS_EVERY_MS + 1) * CLICKERS_EVERY_MS
        scores = board.scores[:n].tolist()
        rows = (
            [at_ms / 1000] * n,
            range(1, n + 1),
            board.items[:n],
            scores,
            actors,
            trust,
            prefixes,
            clickers,
        )
        for column, values in zip(self.columns.values(), rows, strict=True):
            column.extend(values)


def replay(
    log: LogFile, config: Config, *, out: Path | None = None, on_progress: Callable[[int], None] | None = None
) -> tuple[Pipeline, dict[str, Any]]:
    """Fold a whole file, and return the Pipeline and the summary.

    If `out` is given, the three files are written there. `on_progress` is called with the number of events of each
    step. Raises LogFileError.
    """
    pipeline = Pipeline(config)
    boards = BoardColumns()
    results: list[StepResult] = []
    rows = []
    board_due_ms = 0
    learning_s = 0.0
    for step in log.steps(pipeline.encoder, bucket_ms=STEP_MS):
        began_at = time.perf_counter()
        result = pipeline.step(step.batch)
        learning_s += time.perf_counter() - began_at
        if out is not None:
            results.append(result)
            rows.append(step.rows)
            if pipeline.stream_ms >= board_due_ms:
                boards.add(pipeline, pipeline.stream_ms)
                board_due_ms = (pipeline.stream_ms // BOARD_EVERY_MS + 1) * BOARD_EVERY_MS
        if on_progress:
            on_progress(len(step.batch))
    table = _verdict_table(results, rows)
    summary = summarise(pipeline, verdict_counts(table) if out is not None else {}, learning_s)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.write_parquet(out / "verdicts.parquet")
        summary |= score_labels(log.path, table)
        frame = pl.DataFrame(boards.columns, schema_overrides={"margin_clickers": pl.Int64})
        frame.write_parquet(out / "boards.parquet")
        (out / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    return pipeline, summary


def summarise(pipeline: Pipeline, verdicts: dict[str, int], learning_s: float) -> dict[str, Any]:
    """Return the figures of a replay.

    events_per_s: events over seconds inside Pipeline.step.
    """
    quality = {name: pipeline.evaluation.total(name) for name in LISTS}
    return {
        "events": pipeline.n_events,
        "events_per_s": round(pipeline.n_events / learning_s) if learning_s else 0,
        "hr20": {name: round(each.hit_rate, 5) for name, each in quality.items()},
        "mrr20": {name: round(each.mean_reciprocal_rank, 5) for name, each in quality.items()},
        "predictions": quality["trending"].n,
        "verdicts": verdicts,
        "digest": pipeline.digest(),
    }


def verdict_counts(table: pl.DataFrame) -> dict[str, int]:
    """Count the events by final verdict, and those that were held on the way."""
    counts = {verdict.name.lower(): table["verdict"].eq(verdict.name.lower()).sum() for verdict in Verdict}
    return {name: int(n) for name, n in counts.items()} | {"was_held": int(table["was_held"].sum())}


def score_labels(path: Path, table: pl.DataFrame) -> dict[str, float]:
    """Return precision and recall of "not admitted" for the rows labelled 1.

    honest_loss is the share of the other rows that is not admitted.
    """
    if "label" not in pl.scan_parquet(path).collect_schema():
        return {}
    labels = pl.read_parquet(path, columns=["label"])["label"].gather(table["row"]).fill_null(0).to_numpy() == 1
    is_stopped = table["verdict"].to_numpy() != Verdict.ADMIT.name.lower()
    caught = float((labels & is_stopped).sum())
    return {
        "precision": caught / max(1.0, float(is_stopped.sum())),
        "recall": caught / max(1.0, float(labels.sum())),
        "honest_loss": float((~labels & is_stopped).sum()) / max(1.0, float((~labels).sum())),
    }


def _verdict_table(results: list[StepResult], rows: list[Any]) -> pl.DataFrame:
    if not results:
        empty = {
            "row": pl.Int64,
            "verdict": pl.String,
            "score": pl.Float32,
            "reasons": pl.String,
            "was_held": pl.Boolean,
        }
        return pl.DataFrame(schema=empty)
    verdict = np.concatenate([each.verdicts.verdict for each in results])
    reason = np.concatenate([each.verdicts.reason for each in results])
    was_held = verdict == HOLD
    for each in results:  # in the order in which they were revised
        verdict[each.revised.ordinal] = each.revised.verdict
        reason[each.revised.ordinal] |= each.revised.reason
    masks, places = np.unique(reason, return_inverse=True)
    names = pl.Series([each.name.lower() for each in Verdict])
    return pl.DataFrame(
        {
            "row": np.concatenate(rows),
            "verdict": names.gather(verdict.astype(np.int64)),
            "score": np.concatenate([each.verdicts.score for each in results]),
            "reasons": pl.Series([reason_names(mask) for mask in masks.tolist()], dtype=pl.String).gather(places),
            "was_held": was_held,
        }
    )
