"""Write a checkpoint: its pieces first, then the row that names them.

    keep(pipeline) ──> pieces that are not stored yet ──> database or object store ──> columns of the row
    name_checkpoint(columns), in one short transaction ──> Checkpoint

`keep` may take seconds. It holds a lock only while it sends a few pieces to an object store. It needs the memory of a
few pieces, however large the state is.
"""

from collections.abc import Callable
from typing import Any

from django.db import transaction

from recommender import history
from recommender.core.checkpoint import Header, Layout
from recommender.core.pipeline import Pipeline
from recommender.history import Recipe
from recommender.learning.checkpoints import piece_table
from recommender.learning.checkpoints.object_store import ObjectStore, present_store
from recommender.learning.checkpoints.piece_table import HERE, PiecesGone
from recommender.log.event_log import Position
from recommender.models import Checkpoint

QUALITY_HOURS = 2  # of stream time, over which a checkpoint's quality is measured
STATE_NAMES = ("header", "pieces", "place")  # the columns that say where a state is
Between = Callable[[], None]
Release = Callable[[int], None]


def store_checkpoint(
    pipeline: Pipeline, shard: int, step: int, position: Position, recipe: Recipe, parent_id: int | None
) -> Checkpoint:
    """Store a Pipeline's state, or return the checkpoint that has it already.

    Raises StoreUnavailable and PiecesGone.
    """
    return name_checkpoint(keep(pipeline), shard, step, position, recipe, parent_id)


def keep(pipeline: Pipeline, between: Between | None = None, *, is_last_use: bool = False) -> dict[str, Any]:
    """Store the pieces of a state, and return the columns of a row that can name them.

    between: called after every few pieces.
    is_last_use: the Pipeline is not used again, so the memory of each stored piece is given back.

    Raises StoreUnavailable.
    """
    columns = figures(pipeline)
    return columns | keep_layout(Layout(pipeline.views()), between, is_last_use=is_last_use)


def keep_layout(layout: Layout, between: Between | None = None, *, is_last_use: bool = False) -> dict[str, Any]:
    """Store the missing pieces of a state, and return the columns of a StoredState.

    See `keep`. Raises StoreUnavailable.
    """
    store = present_store()
    n_new_bytes = _put_missing(layout, store, between, layout.release if is_last_use else None)
    return state_columns(layout.header, HERE if store is None else store.url) | {"n_new_bytes": n_new_bytes}


def state_columns(header: Header, place: str) -> dict[str, Any]:
    """Return the columns of a StoredState whose pieces are all in `place`."""
    return {
        "digest": header.digest,
        "n_bytes": header.n_bytes,
        "header": header.text,
        "pieces": list(header.hashes),
        "place": place,
    }


def figures(pipeline: Pipeline) -> dict[str, Any]:
    """Return the columns of a state that people read."""
    quality = pipeline.evaluation.recent("trending", QUALITY_HOURS)
    return {
        "stream_ms": pipeline.stream_ms,
        "n_events": pipeline.n_events,
        "n_predicted": quality.n,
        "hr20": quality.hit_rate,
    }


@transaction.atomic
def name_checkpoint(
    columns: dict[str, Any], shard: int, step: int, position: Position, recipe: Recipe, parent_id: int | None
) -> Checkpoint:
    """Store the row of a checkpoint whose pieces were kept.

    If a row has this state already, it is returned, and names the pieces just kept. Its own may be damaged or in
    another place. Raises PiecesGone.
    """
    piece_table.name(columns["place"], columns["pieces"])
    rest = {name: value for name, value in columns.items() if name != "digest"}
    checkpoint, is_new = Checkpoint.objects.get_or_create(
        shard=shard,
        step=step,
        digest=columns["digest"],
        defaults={
            "xid": position.xid,
            "seq": position.seq,
            "parent_id": parent_id,
            "recipe": history.closed(recipe, step),
            **rest,
        },
    )
    if not is_new:
        state = {name: columns[name] for name in STATE_NAMES}
        if not Checkpoint.objects.filter(pk=checkpoint.pk).update(**state):
            raise PiecesGone(f"{checkpoint} was dropped before its pieces were named")
        for name, value in state.items():
            setattr(checkpoint, name, value)
    return checkpoint


def _put_missing(layout: Layout, store: ObjectStore | None, between: Between | None, release: Release | None) -> int:
    """Send the pieces that are not stored, and return their bytes.

    release: called with the number of each piece that is stored.
    """
    header = layout.header
    place = HERE if store is None else store.url
    numbers = {hash: number for number, hash in enumerate(header.hashes)}
    missing = set(numbers) - piece_table.claim(place, numbers)
    if release:
        for hash, number in numbers.items():
            if hash not in missing:
                release(number)
    n_new_bytes = 0
    batch: list[tuple[bytes, Any]] = []
    n_batch = 0

    def send() -> None:
        nonlocal n_batch
        hashes, pieces = [hash for hash, _ in batch], [piece for _, piece in batch]
        lengths = [len(piece) for piece in pieces]
        if store is None:
            piece_table.insert(place, hashes, lengths, pieces)
        else:
            with piece_table.sending(place):
                piece_table.insert(place, hashes, lengths, [None] * len(batch))
                store.put_all(batch)
        if release:
            for hash in hashes:
                release(numbers[hash])
        batch.clear()
        n_batch = 0
        if between:
            between()

    for hash, number in numbers.items():
        if hash in missing:
            piece = layout.piece(number)
            batch.append((hash, piece))
            n_batch += len(piece)
            n_new_bytes += len(piece)
            if n_batch >= piece_table.BATCH_BYTES:
                send()
    if batch:
        send()
    return n_new_bytes
