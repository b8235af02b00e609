"""Test the pieces in PostgreSQL, and when they may be deleted."""

import threading

import psycopg
import pytest
from django.db import connection, connections, transaction

from recommender.core.checkpoint import hash_of
from recommender.learning import piece_table
from recommender.learning.piece_table import GRACE_S, HERE, PiecesGone
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
    (parameters,) = said
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
