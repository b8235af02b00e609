"""The contents of a Pipeline, without how they are stored.

Digests are promised within one version of the fold. Across versions the contents must be the same: what readers see,
and what the next events meet.
"""

from typing import Any

from recommender.core.pipeline import Pipeline
from recommender.core.trend import count_breakdowns

QUALITY_HOURS = 2


def contents(pipeline: Pipeline) -> dict[str, Any]:
    """Return lists, counts, held events and quality, by name."""
    trend, quality = pipeline.trend, pipeline.evaluation.recent("trending", QUALITY_HOURS)
    board = pipeline.board(20)
    readers = [f"reader-{number}" for number in range(0, 60, 7)]
    return {
        "n_events": pipeline.n_events,
        "stream_ms": pipeline.stream_ms,
        "secret": pipeline.config.secret,
        "board": list(zip(board.items, board.counts.tolist(), strict=True)),
        "counts": sorted(zip(trend.names, trend.counts().tolist(), strict=True)),
        "regions": {
            region: sorted(counts.tolist()) for region, (_, counts) in count_breakdowns.region_counts(trend).items()
        },
        "held": sorted(pipeline.holding.columns["ordinal"].tolist()),
        "lists": {reader: [trend.names[row] for row in pipeline.recommend(reader).rows] for reader in readers},
        "quality": (quality.n, quality.hits),
        "ranker": pipeline.ranker.mode,
    }
