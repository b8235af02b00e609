"""Test the pieces in PostgreSQL, and when they may be deleted."""

import threading

import psycopg
import pytest
from django.db import connection, connections, transaction

from recommender.core.checkpoint import hash_of
from recommender.learning.checkpoints import piece_table
from recommender.learning.checkpoints.object_store import DELETED_AT_ONCE
from recommender.learning.checkpoints.piece_table import GRACE_S, HERE, PiecesGone
from recommender.models import Checkpoint, ErasedState, Erasure, Piece
from tests.help.patience import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

DATA = {hash_of(data): data for data in (b"one", b"two" * 100_000, b"\x00\xff" * 7)}
HASHES = list(DATA)


def write(hashes=HASHES):
    piece_table.insert(HERE, hashes, [len(DATA[each]) for each in hashes], [DATA[each] for each in hashes])


def age(by_s):
    """Let pieces without a name be so many seconds older."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE recommender_piece SET unnamed_at = unnamed_at - make_interval(secs => %s)", [by_s])


def named(hashes, **more):
    """Store a checkpoint that names these pieces."""
    columns = {"shard": 0, "step": 1, "xid": 0, "seq": 0, "n_bytes": 1, "header": "{}", "pieces": hashes}
    with transaction.atomic():
        piece_table.name(HERE, hashes)
        return Checkpoint.objects.create(**columns | {"digest": "0" * 64} | more)


def there():
    return {bytes(hash) for hash in Piece.objects.values_list("hash", flat=True)}


def drop():
    return piece_table.drop_unnamed(None)


def test_pieces_come_back_in_the_order_asked_for():
    write()
    asked = [*reversed(HASHES), HASHES[0]]
    assert [bytes(each) for each in piece_table.get(asked)] == [DATA[each] for each in asked]
    with pytest.raises(KeyError):
        list(piece_table.get([b"x" * 32]))


def test_pieces_travel_and_lie_in_binary(monkeypatch):
    said = []
    monkeypatch.setattr(psycopg.Cursor, "execute", _noting(psycopg.Cursor.execute, said))
    write()
    (parameters,) = [each for each in said if each and HERE in each]
    assert isinstance(parameters[3][1], memoryview)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attstorage FROM pg_attribute WHERE attrelid = 'recommender_piece'::regclass AND attname = 'data'"
        )
        assert cursor.fetchone()[0] in ("e", b"e")


def _noting(execute, said):
    def noted(self, query, parameters=None, **more):
        said.append(parameters)
        return execute(self, query, parameters, **more)

    return noted


def test_only_pieces_that_are_missing_need_to_be_sent():
    write(HASHES[:2])
    assert piece_table.claim(HERE, HASHES) == set(HASHES[:2])
    assert piece_table.claim("s3://elsewhere", HASHES) == set()


def test_a_piece_goes_only_after_it_had_no_name_for_the_grace():
    write()
    row = named(HASHES[:1])
    age(GRACE_S + 1)
    assert drop() == 2
    assert there() == set(HASHES[:1])
    row.delete()
    assert drop() == 0
    age(GRACE_S - 1)
    assert drop() == 0
    age(2)
    assert drop() == 1
    assert there() == set()


def test_an_erased_state_names_its_pieces():
    write()
    figures = dict.fromkeys(("stream_ms", "n_events", "n_predicted", "hr20"), 0)
    erasure = Erasure.objects.create(actor="mal", actor_hash="h")
    with transaction.atomic():
        piece_table.name(HERE, HASHES)
        ErasedState.objects.create(
            erasure=erasure, checkpoint_id=1, digest="", n_bytes=1, header="{}", pieces=HASHES, **figures
        )
    age(GRACE_S + 1)
    assert drop() == 0
    assert there() == set(HASHES)


def test_a_piece_that_a_writer_found_is_kept_for_the_grace_from_then():
    write()
    age(GRACE_S - 1)
    assert piece_table.claim(HERE, HASHES[:1]) == set(HASHES[:1])
    age(2)
    drop()
    assert there() == set(HASHES[:1])
    assert named(HASHES[:1])


def test_a_checkpoint_dropped_after_a_writer_found_its_pieces_leaves_them_for_the_grace():
    write()
    row = named(HASHES)
    drop()
    assert piece_table.claim(HERE, HASHES) == set(HASHES)
    row.delete()
    drop()
    age(GRACE_S - 1)
    assert drop() == 0
    assert named(HASHES, digest="1" * 64)


def test_a_writer_slower_than_the_grace_is_refused_and_names_nothing():
    write()
    assert piece_table.claim(HERE, HASHES) == set(HASHES)
    age(GRACE_S + 1)
    assert drop() == 3
    with pytest.raises(PiecesGone, match="3 pieces"):
        named(HASHES)
    assert not Checkpoint.objects.exists()


def test_a_thinner_that_runs_while_a_slow_writer_names_its_pieces_leaves_them():
    """Let the thinner look after the writer has locked the pieces.

    The writer commits later.
    """
    write()
    age(GRACE_S + 1)
    with transaction.atomic():
        piece_table.name(HERE, HASHES)
        assert in_another_connection(drop) == 0
        Checkpoint.objects.create(
            shard=0, step=1, xid=0, seq=0, digest="0" * 64, n_bytes=1, header="{}", pieces=HASHES
        )
    assert drop() == 0
    assert there() == set(HASHES)


def test_a_piece_named_after_the_thinner_noted_it_is_left(monkeypatch):
    """Commit a slow writer's row after the thinner has noted the pieces as old.

    It has not locked them yet.
    """
    write()
    age(GRACE_S + 1)
    find = piece_table._drop

    def late(*arguments):
        in_another_connection(named, HASHES)
        return find(*arguments)

    monkeypatch.setattr(piece_table, "_drop", late)
    assert drop() == 0
    assert there() == set(HASHES)


@pytest.mark.parametrize("how", [named, lambda hashes: piece_table.claim(HERE, hashes)])
def test_a_piece_named_or_found_after_the_thinner_chose_it_is_left(monkeypatch, how):
    """Let a writer come between the thinner's look and its deletion."""
    write()
    age(GRACE_S + 1)
    find = piece_table._find_old

    def late(*arguments):
        old = find(*arguments)
        assert set(old) == set(HASHES)
        in_another_connection(how, HASHES)
        return old

    monkeypatch.setattr(piece_table, "_find_old", late)
    assert drop() == 0
    assert there() == set(HASHES)


def test_a_row_that_fails_leaves_its_pieces_without_a_name():
    write()
    with transaction.atomic():
        piece_table.name(HERE, HASHES)
        transaction.set_rollback(True)
    age(GRACE_S + 1)
    assert drop() == 3


def test_a_named_piece_has_no_age_from_the_moment_of_its_row():
    write()
    named(HASHES[:1])
    assert [bytes(each.hash) for each in Piece.objects.filter(unnamed_at=None)] == HASHES[:1]


def test_states_of_an_older_dump_are_found_without_having_been_named():
    write()
    columns = {"shard": 0, "step": 1, "xid": 0, "seq": 0, "n_bytes": 1, "header": "{}", "pieces": HASHES}
    Checkpoint.objects.create(**columns, digest="0" * 64)
    age(GRACE_S + 1)
    assert drop() == 0
    assert Piece.objects.filter(unnamed_at=None).count() == 3


def test_more_pieces_than_are_deleted_at_once_all_go():
    n = 2 * DELETED_AT_ONCE + 1
    hashes = [hash_of(str(number).encode()) for number in range(n)]
    piece_table.insert(HERE, hashes, [1] * n, [b"x"] * n)
    age(GRACE_S + 1)
    assert drop() == n
    assert there() == set()


def test_hundreds_of_large_checkpoints_are_compared_by_joins():
    """Explain the looks with 200,000 names, with and without the planner's figures.

    A subplan or a nested loop would search all names for each piece.
    """
    with connection.cursor() as cursor:
        cursor.execute(_MANY_CHECKPOINTS)
        cursor.execute(_MANY_PIECES)
    for analyzes in (False, True):
        if analyzes:
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE recommender_piece, recommender_checkpoint")
        for query, parameters in (
            (piece_table._LOST, ()),
            (piece_table._FOUND, ()),
            (piece_table._OLD, [HERE, GRACE_S, 10]),
        ):
            plan = "\n".join(line for (line,) in piece_table._look(f"EXPLAIN {query}", parameters))
            assert "SubPlan" not in plan
            assert "Nested Loop" not in plan
    assert drop() == 0
    assert Piece.objects.exclude(unnamed_at=None).count() == 1
    Checkpoint.objects.filter(step=1).delete()
    drop()
    assert Piece.objects.exclude(unnamed_at=None).count() == 1 + 350


def test_the_thinner_has_no_transaction_id_while_it_looks(monkeypatch):
    """Otherwise the log's readers would wait for it."""
    write()
    look, had = piece_table._look, []

    def looked(*arguments):
        with transaction.atomic(), connection.cursor() as cursor:
            found = look(*arguments)
            cursor.execute("SELECT pg_current_xact_id_if_assigned()")
            had.append(cursor.fetchone()[0])
        return found

    monkeypatch.setattr(piece_table, "_look", looked)
    drop()
    assert had == [None, None, None]


_MANY_CHECKPOINTS = """
INSERT INTO recommender_checkpoint
    (shard, step, xid, seq, digest, n_bytes, header, pieces, place, fold_version, recipe, is_pinned, stream_ms,
     n_events, n_predicted, hr20)
SELECT 0, c, 0, 0, c, 1, '{}', (
    SELECT array_agg(sha256((CASE WHEN p <= 350 THEN p::text ELSE c || '-' || p END)::bytea))
    FROM generate_series(1, 700) AS p
), '', 1, '[]', false, 0, 0, 0, 0 FROM generate_series(1, 285) AS c
"""
_MANY_PIECES = """
INSERT INTO recommender_piece (hash, place, n_bytes, data, unnamed_at)
SELECT DISTINCT unnest(pieces), '', 1, ''::bytea, NULL::timestamptz FROM recommender_checkpoint
UNION ALL SELECT 'a'::bytea, '', 1, '', NULL
"""


def test_a_writer_that_names_what_a_thinner_is_deleting_waits_and_is_refused():
    write()
    age(GRACE_S + 1)
    refused = []

    def name():
        try:
            in_this_connection_only(named, HASHES)
        except PiecesGone as error:
            refused.append(error)

    thread = threading.Thread(target=name)
    with transaction.atomic():
        assert drop() == 3
        thread.start()
        wait_for(_is_waited_for)
    thread.join()
    assert refused
    assert not Checkpoint.objects.exists()


def test_two_thinners_do_not_disturb_each_other():
    write()
    age(GRACE_S + 1)
    with transaction.atomic():
        assert drop() == 3
        assert in_another_connection(drop) == 0


def _is_waited_for():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


def in_this_connection_only(call, *arguments):
    """Call a function in a thread with a connection of its own, which ends with it."""
    try:
        return call(*arguments)
    finally:
        connections.close_all()


def in_another_connection(call, *arguments):
    """Return what a function returns that runs in another session of the database."""
    found = []
    thread = threading.Thread(target=lambda: found.append(in_this_connection_only(call, *arguments)))
    thread.start()
    thread.join()
    return found[0]
