"""Write a checkpoint: a Pipeline's bytes, its digest, and its recent quality."""

from typing import Any

from recommender import history
from recommender.core.checkpoint import digest
from recommender.core.pipeline import Pipeline
from recommender.history import Recipe
from recommender.log.event_log import Position
from recommender.models import Checkpoint

QUALITY_HOURS = 2  # of stream time, over which a checkpoint's quality is measured


def store_checkpoint(
    pipeline: Pipeline, shard: int, step: int, position: Position, recipe: Recipe, parent_id: int | None
) -> Checkpoint:
    """Store a Pipeline's state, or return the checkpoint that has it already."""
    kept = bytes_and_figures(pipeline)
    checkpoint, _ = Checkpoint.objects.get_or_create(
        shard=shard,
        step=step,
        digest=kept.pop("digest"),
        defaults={
            "xid": position.xid,
            "seq": position.seq,
            "parent_id": parent_id,
            "recipe": history.closed(recipe, step),
            **kept,
        },
    )
    return checkpoint


def bytes_and_figures(pipeline: Pipeline) -> dict[str, Any]:
    """Return the columns that are stored for a state."""
    data = pipeline.to_bytes()
    quality = pipeline.evaluation.recent("trending", QUALITY_HOURS)
    return {
        "digest": digest(data),
        "n_bytes": len(data),
        "data": data,
        "stream_ms": pipeline.stream_ms,
        "n_events": pipeline.n_events,
        "n_predicted": quality.n,
        "hr20": quality.hit_rate,
    }
