"""Read a stored state back into a Pipeline, piece by piece.

Each array is read, copied into its table and forgotten, so a restore needs the memory of one array more than the
Pipeline. Rows of versions up to 0.1 have one block of bytes instead of pieces.
"""

import logging
from collections.abc import Iterator, Sequence

from django.db import InternalError, connection

from recommender.core import checkpoint_reader
from recommender.core.checkpoint import CheckpointCorrupt, GetPieces, Header, Layout, Piece
from recommender.core.pipeline import Pipeline
from recommender.learning.checkpoints import piece_table
from recommender.learning.checkpoints.object_store import ObjectStore, present_store
from recommender.learning.checkpoints.piece_table import HERE
from recommender.models import StoredState

logger = logging.getLogger(__name__)


def load_pipeline(row: StoredState) -> Pipeline:
    """Return the Pipeline of a checkpoint.

    Raises CheckpointCorrupt if a byte is missing or differs, ValueError if another version wrote it, and
    StoreUnavailable if the object store that has its pieces does not answer.
    """
    if row.header is None:
        return Pipeline.from_bytes(bytes(row.data or b""))
    return Pipeline.from_state(checkpoint_reader.read(*open_pieces(row)))


def open_pieces(row: StoredState) -> tuple[Header, GetPieces]:
    """Return the header of a stored state, and a function that reads its pieces.

    A block of an older version is cut into pieces first. Raises CheckpointCorrupt.
    """
    if row.header is None:
        layout = Layout(checkpoint_reader.load(bytes(row.data or b"")))
        return layout.header, layout.get
    header = Header(row.header, tuple(bytes(each) for each in row.pieces or ()))
    if header.digest != row.digest:
        raise CheckpointCorrupt("the checkpoint is damaged: its digest does not match its header")
    return header, _get_here if row.place == HERE else ObjectStore(row.place).get


def drop_damaged_pieces(row: StoredState, looked_at: set[bytes]) -> None:
    """Let the next writer send the damaged pieces of a state again.

    It does nothing where no writer would: inside a transaction, or for pieces in another place than new ones.
    Raises StoreUnavailable.

    looked_at: pieces that need no look. Those of the state are added.
    """
    store = present_store()
    if connection.in_atomic_block or row.place != (HERE if store is None else store.url):
        return
    unknown = {bytes(each) for each in row.pieces or ()} - looked_at
    looked_at |= unknown
    if n := piece_table.drop_damaged(store, unknown):
        logger.warning("%d damaged pieces of %s are sent again with the next checkpoint", n, row)


def digest_of(row: StoredState) -> str:
    """Return the digest of a state in the present format.

    For a row of this version it is the one in the row. A block of an older version is read, and if its row has
    another digest than the block, that is returned, which no state can have.
    """
    if row.header is not None:
        return row.digest
    data = bytes(row.data or b"")
    return load_pipeline(row).digest() if checkpoint_reader.digest(data) == row.digest else row.digest


def _get_here(hashes: Sequence[bytes]) -> Iterator[Piece]:
    try:
        yield from piece_table.get(hashes)
    except KeyError as error:
        raise CheckpointCorrupt("a piece of the checkpoint is not in the database") from error
    except InternalError as error:
        if not piece_table.is_damage(error):
            raise
        raise CheckpointCorrupt(f"the database cannot read a piece of the checkpoint: {error}") from error
