"""Keep the pieces of stored states, and delete those that no state names.

    writer:  claim(hashes) ──> those already here   insert(the others)   name(hashes), in the transaction of the row
    thinner: drop_unnamed ──> notes since when a piece has no name, deletes it when it had none for long enough

A writer looks for pieces, sends those that are missing, and names all of them seconds or minutes later. In between, a
thinner must not delete a piece that the writer found. Two rules see to it:

- A piece is deleted only when it had no name for GRACE_S. Looking for a piece without a name begins this time anew.
  So a writer has GRACE_S from its look to its row. The learner ends one that takes longer (`checkpoint_process`).
- Naming locks the pieces and counts them. If one is missing, PiecesGone is raised and no row names it. The thinner
  first locks what it wants to delete and skips what others hold. Then it looks again who is named, in a new snapshot.
  So a piece with a name is never deleted, however slow a writer was.

Pieces in an object store have a row here too, without bytes, so that it is known since when they have no name. The
row is written before the piece, and deleted after it. So no piece is ever in the store without a row, unless the
tables come from a dump. A piece in an object store stays for BACKUP_KEEP_DAYS without a name, because the dump of
last night may name it. A writer sends such a piece again instead of trusting it. After a return to an older dump it
may be gone.

Bytes travel in binary. As a literal in hexadecimal, a piece would take twice its size in the client and the server.
"""

from collections.abc import Collection, Iterator, Sequence

from django.conf import settings
from django.db import connection, transaction

from recommender.core.checkpoint import PIECE_BYTES, Piece
from recommender.learning.object_store import ObjectStore
from recommender.log import statements

HERE = ""  # the place of pieces in this table
GRACE_S = 300
BATCH_BYTES = 2**22  # read or written in one statement
LOCK_CLASS = 0x6759  # of the advisory lock taken here
DELETED_AT_ONCE = 1000

_CLAIM = """
WITH touched AS (
    UPDATE recommender_piece SET unnamed_at = now()
    WHERE place = %b AND hash = ANY(%b::bytea[]) AND unnamed_at IS NOT NULL RETURNING hash
)
SELECT hash, true FROM touched
UNION ALL
SELECT hash, false FROM recommender_piece WHERE place = %b AND hash = ANY(%b::bytea[]) AND unnamed_at IS NULL
"""
_INSERT = """
WITH written AS (
    INSERT INTO recommender_piece (hash, place, n_bytes, data, unnamed_at)
    SELECT hash, %b, n_bytes, data, now()
    FROM unnest(%b::bytea[], %b::integer[], %b::bytea[]) AS t(hash, n_bytes, data)
    ON CONFLICT (hash, place) DO UPDATE SET unnamed_at = now() WHERE recommender_piece.unnamed_at IS NOT NULL
    RETURNING 1
)
SELECT count(*) FROM written
"""
# in the order of the key, so that two that name the same pieces do not wait for each other
_LOCK = """
SELECT count(*) FROM (
    SELECT 1 FROM recommender_piece WHERE place = %b AND hash = ANY(%b::bytea[]) ORDER BY hash, place FOR KEY SHARE
) AS locked
"""
_GET = """
SELECT p.data FROM unnest(%b::bytea[]) WITH ORDINALITY AS w(hash, n)
JOIN recommender_piece AS p ON p.hash = w.hash AND p.place = ''
ORDER BY w.n
"""
_NAMED = """
    SELECT place, unnest(pieces) AS hash FROM recommender_checkpoint
    UNION ALL SELECT place, unnest(pieces) FROM recommender_erasedstate
"""
_NOTE = f"""
WITH named AS MATERIALIZED ({_NAMED})
UPDATE recommender_piece AS p SET unnamed_at = CASE WHEN p.unnamed_at IS NULL THEN now() END
WHERE (p.unnamed_at IS NULL) <> ((p.place, p.hash) IN (SELECT place, hash FROM named))
"""  # noqa: S608 - constants of this module
_LOCK_UNNAMED = """
SELECT hash FROM recommender_piece
WHERE place = %s AND unnamed_at < now() - make_interval(secs => %s)
ORDER BY unnamed_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
_STILL_NAMED = f"""
SELECT DISTINCT hash FROM ({_NAMED}) AS named WHERE place = %s AND hash = ANY(%s::bytea[])
"""  # noqa: S608 - constants of this module
_STORED_BYTES = "SELECT coalesce(sum(n_bytes), 0)::bigint FROM recommender_piece"


class PiecesGone(Exception):
    """A piece was deleted between a writer's look and its row.

    The writer was slower than GRACE_S. It must write the state again.
    """


def claim(place: str, hashes: Collection[bytes]) -> set[bytes]:
    """Return which pieces need not be sent.

    Those without a name are kept for GRACE_S more. One statement, about 10 us a piece.
    """
    wanted = list(hashes)
    found = statements.fetch_all(_CLAIM, [place, wanted, place, wanted])
    return {bytes(hash) for hash, was_unnamed in found if place == HERE or not was_unnamed}


def insert(place: str, hashes: Sequence[bytes], lengths: Sequence[int], data: Sequence[Piece | None]) -> None:
    """Write rows of pieces that no state names yet."""
    sent = statements.nullable([None if each is None else memoryview(each) for each in data])
    statements.fetch(_INSERT, [place, list(hashes), list(lengths), sent])


def name(place: str, hashes: Collection[bytes]) -> None:
    """Keep pieces from being deleted until the caller's transaction ends.

    The caller writes the row that names them in this transaction. Raises PiecesGone.
    """
    distinct = list(set(hashes))
    (n,) = statements.fetch(_LOCK, [place, distinct])
    if n != len(distinct):
        raise PiecesGone(f"{len(distinct) - n} pieces of a state were deleted before the state was named")


def get(hashes: Sequence[bytes]) -> Iterator[Piece]:
    """Yield pieces of this table, in order, a few at once.

    Raises KeyError if one is not there.
    """
    at_once = max(1, BATCH_BYTES // PIECE_BYTES)
    for start in range(0, len(hashes), at_once):
        wanted = list(hashes[start : start + at_once])
        found = statements.fetch_all(_GET, [wanted])
        if len(found) != len(wanted):
            raise KeyError("a piece is not in the database")
        for (data,) in found:
            yield data


def drop_unnamed(store: ObjectStore | None) -> int:
    """Delete pieces that no state has named for long enough, and return their number.

    Those of another object store than `store` stay where they are. It does nothing while another process does this.
    About 1 us a named piece.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, 0)", [LOCK_CLASS])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(_NOTE)
    n = _drop(HERE, GRACE_S, None)
    if store is not None:
        n += _drop(store.url, max(GRACE_S, 86_400 * settings.BACKUP_KEEP_DAYS), store)
    return n


def get_stored_bytes() -> int:
    """Return the bytes of all stored pieces, each counted once."""
    with connection.cursor() as cursor:
        cursor.execute(_STORED_BYTES)
        return int(cursor.fetchone()[0])


def _drop(place: str, after_s: int, store: ObjectStore | None) -> int:
    n = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_LOCK_UNNAMED, [place, after_s, DELETED_AT_ONCE])
            locked = [bytes(hash) for (hash,) in cursor.fetchall()]
            # A state may have named one since the first look. This look is later than the locks, so it sees every
            # such state: naming holds a lock until its transaction ends.
            cursor.execute(_STILL_NAMED, [place, locked])
            dropped = list(set(locked) - {bytes(hash) for (hash,) in cursor.fetchall()})
            if store is not None and dropped:
                store.delete(dropped)
            cursor.execute("DELETE FROM recommender_piece WHERE place = %s AND hash = ANY(%s)", [place, dropped])
        n += len(dropped)
        if len(locked) < DELETED_AT_ONCE or not dropped:
            return n
