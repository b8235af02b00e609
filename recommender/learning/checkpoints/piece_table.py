"""Keep the pieces of stored states, and delete those that no state names.

    writer:  claim(hashes) ──> those already here   insert(the others)   name(hashes), in the transaction of the row
    thinner: drop_unnamed ──> notes since when a piece has no name, deletes it when it had none for long enough

A writer looks for pieces, sends those that are missing, and names all of them seconds or minutes later. In between, a
thinner must not delete a piece that the writer found. Two rules see to it:

- A piece is deleted only when it had no name for GRACE_S. Looking for a piece without a name begins this time anew.
  So a writer has GRACE_S from its look to its row. The learner ends one that takes longer (`forked_writer`).
- Naming locks the pieces, counts them, and notes that they have a name. If one is missing, PiecesGone is raised and
  no row names it. The thinner's statement skips pieces that others lock, and sees what naming noted. So a piece with
  a name is never deleted, however slow a writer was.

Pieces in an object store have a row here too, without bytes, so that it is known since when they have no name. The
row is written before the piece. A piece is deleted in three steps: its row moves to the place `deleting s3://...`,
the store deletes it, the row is deleted. So no piece is ever in the store without a row, unless the tables come from
a dump. A thinner that dies in between leaves the rest to the next one. A writer does not find a row that has moved,
and sends the piece again. It shares the lock of the place while it writes the row and the piece. The thinner holds
that lock alone while the store deletes, and deletes no piece that has a row in its own place again.

The readers of the log wait for each transaction that has an id. So the thinner looks without one, then writes a few
rows by key, and holds only session locks while the store is asked.

A piece in an object store stays for BACKUP_KEEP_DAYS without a name, because the dump of last night may name it. A
writer sends such a piece again instead of trusting it. After a return to an older dump it may be gone.

A piece with a name is trusted, so a damaged one would spoil every later checkpoint. A learner that cannot read a
checkpoint looks for its damaged pieces, and takes their rows away. The next writer sends them again.

Bytes travel in binary. As a literal in hexadecimal, a piece would take twice its size in the client and the server.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from zlib import crc32

from django.conf import settings
from django.db import DatabaseError, InternalError, connection, transaction

from recommender import locks
from recommender.core.checkpoint import PIECE_BYTES, Piece, hash_of
from recommender.database_outage import sqlstate
from recommender.learning.checkpoints.object_store import DELETED_AT_ONCE, ObjectStore
from recommender.log import statements

HERE = ""  # the place of pieces in this table
GRACE_S = 300
BATCH_BYTES = 2**21  # read or written in one statement
LOCK_CLASS = 0x6759  # of the lock that one thinner at a time holds
PLACE_LOCK_CLASS = 0x675A  # of the locks of places
NOTED_AT_ONCE = 1000  # rows without their bytes
DATA_CORRUPTED = "XX001"  # SQLSTATE
DROPPED_AT_MOST = 20_000  # in one call

# Rows are locked in the order of the key, so that two statements with the same pieces do not wait for each other.
_CLAIM = """
WITH locked AS MATERIALIZED (
    SELECT hash, place FROM recommender_piece
    WHERE place = %b AND hash = ANY(%b::bytea[]) AND unnamed_at IS NOT NULL
    ORDER BY hash, place FOR NO KEY UPDATE
), touched AS (
    UPDATE recommender_piece AS p SET unnamed_at = now() FROM locked
    WHERE p.hash = locked.hash AND p.place = locked.place RETURNING p.hash
)
SELECT hash, true FROM touched
UNION ALL
SELECT hash, false FROM recommender_piece WHERE place = %b AND hash = ANY(%b::bytea[]) AND unnamed_at IS NULL
"""
_INSERT = """
WITH written AS (
    INSERT INTO recommender_piece (hash, place, n_bytes, data, unnamed_at)
    SELECT hash, %b, n_bytes, data, now()
    FROM unnest(%b::bytea[], %b::integer[], %b::bytea[]) AS t(hash, n_bytes, data) ORDER BY hash
    ON CONFLICT (hash, place) DO UPDATE SET unnamed_at = now() WHERE recommender_piece.unnamed_at IS NOT NULL
    RETURNING 1
)
SELECT count(*) FROM written
"""
_LOCK = """
SELECT count(*) FROM (
    SELECT 1 FROM recommender_piece WHERE place = %b AND hash = ANY(%b::bytea[]) ORDER BY hash, place FOR KEY SHARE
) AS locked
"""
_NAME = """
WITH locked AS MATERIALIZED (
    SELECT hash, place FROM recommender_piece
    WHERE place = %b AND hash = ANY(%b::bytea[]) AND unnamed_at IS NOT NULL
    ORDER BY hash, place FOR NO KEY UPDATE
), noted AS (
    UPDATE recommender_piece AS p SET unnamed_at = NULL FROM locked
    WHERE p.hash = locked.hash AND p.place = locked.place RETURNING 1
)
SELECT count(*) FROM noted
"""
_GET = """
SELECT p.data FROM unnest(%b::bytea[]) WITH ORDINALITY AS w(hash, n)
JOIN recommender_piece AS p ON p.hash = w.hash AND p.place = ''
ORDER BY w.n
"""
_DATA = "SELECT data FROM recommender_piece WHERE place = '' AND hash = %b"
# Only these bytes: a writer may have sent the piece again.
_DELETE_DAMAGED = """
WITH gone AS (DELETE FROM recommender_piece WHERE place = '' AND hash = %b AND data = %b RETURNING 1)
SELECT count(*) FROM gone
"""
_DELETE_UNREADABLE = """
WITH gone AS (DELETE FROM recommender_piece WHERE place = '' AND hash = %b RETURNING 1) SELECT count(*) FROM gone
"""
_MOVE_DAMAGED = """
WITH locked AS MATERIALIZED (
    SELECT hash, place FROM recommender_piece WHERE place = %s AND hash = ANY(%s::bytea[])
    ORDER BY hash, place FOR UPDATE
), deleted AS (
    DELETE FROM recommender_piece AS p USING locked WHERE p.hash = locked.hash AND p.place = locked.place
    RETURNING p.hash, p.n_bytes
)
INSERT INTO recommender_piece (hash, place, n_bytes, unnamed_at)
SELECT hash, %s, n_bytes, now() FROM deleted ON CONFLICT DO NOTHING
"""
# EXISTS becomes a join. With IN under another operator, each piece would search all names.
_HAS_NAME = """
EXISTS (SELECT FROM (
    SELECT place, unnest(pieces) AS hash FROM recommender_checkpoint
    UNION ALL SELECT place, unnest(pieces) FROM recommender_erasedstate
) AS named WHERE named.place = p.place AND named.hash = p.hash)
"""
_LOST = f"SELECT p.place, p.hash FROM recommender_piece AS p WHERE p.unnamed_at IS NULL AND NOT {_HAS_NAME}"  # noqa: S608 - constants of this module
_FOUND = f"SELECT p.place, p.hash FROM recommender_piece AS p WHERE p.unnamed_at IS NOT NULL AND {_HAS_NAME}"  # noqa: S608 - constants of this module
_OLD = f"""
SELECT p.hash FROM recommender_piece AS p
WHERE p.place = %s AND p.unnamed_at < now() - make_interval(secs => %s) AND NOT {_HAS_NAME}
ORDER BY p.unnamed_at LIMIT %s
"""  # noqa: S608 - constants of this module
# These skip what others lock: it has its turn at the next call.
_NOTE = """
UPDATE recommender_piece AS p SET unnamed_at = CASE WHEN p.unnamed_at IS NULL THEN now() END
FROM (
    SELECT hash, place FROM recommender_piece
    WHERE place = %s AND hash = ANY(%s::bytea[]) AND (unnamed_at IS NULL) = %s
    FOR NO KEY UPDATE SKIP LOCKED
) AS locked
WHERE p.hash = locked.hash AND p.place = locked.place
"""
_DELETE_OLD = """
WITH locked AS MATERIALIZED (
    SELECT hash, place FROM recommender_piece
    WHERE place = %(place)s AND hash = ANY(%(hashes)s::bytea[])
      AND unnamed_at < now() - make_interval(secs => %(after_s)s)
    FOR UPDATE SKIP LOCKED
)
DELETE FROM recommender_piece AS p USING locked WHERE p.hash = locked.hash AND p.place = locked.place
"""
_MOVE_OLD = f"""
WITH deleted AS ({_DELETE_OLD} RETURNING p.hash, p.n_bytes, p.unnamed_at)
INSERT INTO recommender_piece (hash, place, n_bytes, unnamed_at)
SELECT hash, %(to)s, n_bytes, unnamed_at FROM deleted ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants of this module
_MOVED = """
SELECT p.hash, EXISTS (SELECT FROM recommender_piece AS again WHERE again.hash = p.hash AND again.place = %s)
FROM recommender_piece AS p WHERE p.place = %s LIMIT %s
"""
_FORGET = "DELETE FROM recommender_piece WHERE place = %s AND hash = ANY(%s::bytea[])"
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
    statements.fetch(_NAME, [place, distinct])


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


def sending(place: str) -> AbstractContextManager[None]:
    """Keep a place's thinner from deleting while rows and pieces are written there.

    It waits while a thinner has the store delete a few pieces.
    """
    return locks.wait(_number(place), is_shared=True, lock_class=PLACE_LOCK_CLASS)


def drop_unnamed(store: ObjectStore | None) -> int:
    """Delete pieces that no state has named for long enough, and return their number.

    Those of another object store than `store` stay where they are. It does nothing while another process does this,
    and inside a transaction it asks no store. About 1 us a named piece. Raises StoreUnavailable.
    """
    with locks.hold(0, lock_class=LOCK_CLASS) as is_alone:
        if not is_alone:
            return 0
        _note()
        n = _drop(HERE, GRACE_S)
        if store is not None and not connection.in_atomic_block:
            n += _drop_stored(store, max(GRACE_S, 86_400 * settings.BACKUP_KEEP_DAYS))
        return n


def drop_damaged(store: ObjectStore | None, hashes: Collection[bytes]) -> int:
    """Let writers send damaged pieces again, and return how many were found.

    These are pieces whose bytes are missing or differ from their hash. The rows of those in an object store move as
    for a deletion, while no writer sends. So a piece that a writer has just sent again is seen, and stays. It reads
    every piece. Raises StoreUnavailable.
    """
    if store is None:
        return _drop_damaged_here(list(hashes))
    n = 0
    for some in _batched(store.find_damaged(hashes), DELETED_AT_ONCE):
        with locks.wait(_number(store.url), lock_class=PLACE_LOCK_CLASS):
            still = store.find_damaged(some, is_hasty=True)
            n += _write(_MOVE_DAMAGED, [store.url, still, _leaving(store.url)])
    return n


def get_stored_bytes() -> int:
    """Return the bytes of all stored pieces, each counted once."""
    with connection.cursor() as cursor:
        cursor.execute(_STORED_BYTES)
        return int(cursor.fetchone()[0])


def _note() -> None:
    """Note which pieces have lost their last name, and which have found one."""
    for query, was_named in ((_LOST, True), (_FOUND, False)):
        by_place: defaultdict[str, list[bytes]] = defaultdict(list)
        for place, hash in _look(query):
            by_place[place].append(bytes(hash))
        for place, hashes in by_place.items():
            for some in _batched(hashes, NOTED_AT_ONCE):
                _write(_NOTE, [place, some, was_named])


def _look(query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query that compares pieces with all names.

    They are compared by hashing and not one by one, however little the planner knows.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def _find_old(place: str, after_s: int) -> list[bytes]:
    """Return the pieces of a place that may go, the oldest first."""
    return [bytes(hash) for (hash,) in _look(_OLD, [place, after_s, DROPPED_AT_MOST])]


def _drop(place: str, after_s: int) -> int:
    """Delete old pieces in the database, a few at once."""
    old = _batched(_find_old(place, after_s), DELETED_AT_ONCE)
    return sum(_write(_DELETE_OLD, {"place": place, "hashes": some, "after_s": after_s}) for some in old)


def _drop_stored(store: ObjectStore, after_s: int) -> int:
    """Delete old pieces in an object store, a few at once.

    It ends early when a writer uses the place, and the next call goes on.
    """
    old = _batched(_find_old(store.url, after_s), DELETED_AT_ONCE)
    n = 0
    while True:
        with locks.hold(_number(store.url), lock_class=PLACE_LOCK_CLASS) as is_free:
            if not is_free:
                return n
            some = next(old, [])
            if some:
                parts = {"place": store.url, "hashes": some, "after_s": after_s, "to": _leaving(store.url)}
                _write(_MOVE_OLD, parts)
            n_gone = _delete_moved(store)
        n += n_gone
        if not n_gone and not some:
            return n


def _delete_moved(store: ObjectStore) -> int:
    """Delete a few of the pieces whose rows have moved, then these rows.

    Returns the number of rows. The caller holds the lock of the place alone.
    """
    with connection.cursor() as cursor:
        cursor.execute(_MOVED, [store.url, _leaving(store.url), DELETED_AT_ONCE])
        moved = {bytes(hash): was_sent_again for hash, was_sent_again in cursor.fetchall()}
    if gone := [hash for hash, was_sent_again in moved.items() if not was_sent_again]:
        store.delete(gone)
    if moved:
        _write(_FORGET, [_leaving(store.url), list(moved)])
    return len(moved)


def _drop_damaged_here(hashes: Sequence[bytes]) -> int:
    n = 0
    for hash in hashes:  # one at a time, because one that the server cannot read fails the statement
        try:
            found = statements.fetch_all(_DATA, [hash])
        except InternalError as error:
            if not is_damage(error):
                raise
            n += statements.fetch(_DELETE_UNREADABLE, [hash])[0]
            continue
        for (data,) in found:
            if hash_of(data) != hash:
                n += statements.fetch(_DELETE_DAMAGED, [hash, memoryview(data)])[0]
    return n


def is_damage(error: DatabaseError) -> bool:
    """Return whether the server itself found that a row is damaged."""
    return sqlstate(error) == DATA_CORRUPTED


def _batched(hashes: Sequence[bytes], n: int) -> Iterator[list[bytes]]:
    for start in range(0, len(hashes), n):
        yield list(hashes[start : start + n])


def _leaving(url: str) -> str:
    return f"deleting {url}"


def _number(place: str) -> int:
    """Return the number of a place's lock, in [-2**31, 2**31)."""
    return crc32(place.encode()) - 2**31


def _write(query: str, parameters: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return int(cursor.rowcount)
