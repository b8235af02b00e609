"""A damaged piece spoils no checkpoint that is written after a restart."""

import psycopg
import pytest
from django.db import InternalError, transaction

from recommender.core.checkpoint import hash_of
from recommender.learning import fresh_fold, learner
from recommender.learning.checkpoints import piece_table, state_reader, thinning
from recommender.learning.checkpoints.object_store import ObjectStore
from recommender.learning.checkpoints.piece_table import HERE, PiecesGone
from recommender.log import event_log, statements
from recommender.models import Checkpoint, Learner, Piece
from tests.help.damaged_states import damage
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.object_stores import local_store

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process", "small_pieces"),
]


@pytest.fixture
def bucket(settings):
    with local_store() as found:
        settings.CHECKPOINT_STORE = found.url
        yield found


def learned(n, start):
    event_log.append(clicks(n, start=start))
    assert learner.learn(0) == n


def active():
    return Learner.objects.select_related("checkpoint").get().checkpoint


def named_by(*checkpoints):
    """Return the pieces that all of these checkpoints name."""
    return set.intersection(*({bytes(each) for each in row.pieces} for row in checkpoints))


def shared_piece():
    """Learn twice, and return a piece that the checkpoints of both steps name.

    That of the next step would name it too.
    """
    learned(5, start=0)
    learned(5, start=5)
    return min(named_by(*Checkpoint.objects.filter(step__gt=0)))


def damage_here(hash):
    data = bytes(Piece.objects.get(hash=hash, place=HERE).data)
    assert data
    Piece.objects.filter(hash=hash, place=HERE).update(data=bytes([data[0] ^ 1]) + data[1:])


def goes_on(caplog, damaged):
    """Restart the learner, and check that it can read its next checkpoint.

    That checkpoint names the damaged piece.
    """
    n = Learner.objects.get().n_events
    restart()
    caplog.clear()
    event_log.append(clicks(5, start=n))
    assert learner.learn(0) == 5
    assert "cannot be read" in caplog.text
    newest = active()
    assert (newest.step, newest.digest) == (Learner.objects.get().step, warm().digest())
    assert damaged in named_by(newest)
    restart()
    caplog.clear()
    assert learner.learn(0) == 0
    assert "cannot be read" not in caplog.text
    assert warm().digest() == newest.digest
    for each in Checkpoint.objects.filter(step__gt=0):  # older ones that name it are readable again
        assert fresh_fold.verify(each) == each.digest == state_reader.load_pipeline(each).digest()
    assert Learner.objects.get().n_events == n + 5


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_damaged_piece_in_the_database_is_sent_again(caplog, is_missing):
    hash = shared_piece()
    if is_missing:
        Piece.objects.filter(hash=hash).delete()
    else:
        damage_here(hash)
    goes_on(caplog, hash)


def test_a_piece_that_the_server_itself_cannot_read_is_sent_again(caplog, monkeypatch):
    hash, fetch_all = shared_piece(), statements.fetch_all

    def fetched(query, parameters, **options):
        is_read = query == piece_table._DATA and parameters == [hash]
        is_read |= query == piece_table._GET and hash in parameters[0]
        if is_read and is_damaged():
            raise InternalError("missing chunk") from psycopg.errors.DataCorrupted("missing chunk")
        return fetch_all(query, parameters, **options)

    def is_damaged():
        return Piece.objects.filter(hash=hash, n_bytes=0).exists()  # marks the row, which is deleted with it

    assert Piece.objects.filter(hash=hash).update(n_bytes=0) == 1
    monkeypatch.setattr(statements, "fetch_all", fetched)
    goes_on(caplog, hash)


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_damaged_piece_in_the_store_is_sent_again(bucket, caplog, is_missing):
    hash = shared_piece()
    if is_missing:
        ObjectStore(bucket.url).delete([hash])
    else:
        ObjectStore(bucket.url).put(hash, b"damaged")
    goes_on(caplog, hash)
    thinning.thin_pieces()
    assert hash.hex() in bucket.names()
    assert not Piece.objects.exclude(place=bucket.url).exists()


def test_a_damaged_piece_that_no_one_sends_again_leaves_the_store(bucket):
    hash = shared_piece()
    ObjectStore(bucket.url).put(hash, b"damaged")
    assert piece_table.drop_damaged(ObjectStore(bucket.url), named_by(active())) == 1
    thinning.thin_pieces()
    assert bucket.names() == {each.hex() for row in Checkpoint.objects.all() for each in map(bytes, row.pieces)} - {
        hash.hex()
    }
    assert not Piece.objects.filter(hash=hash).exists()


def test_a_writer_that_found_a_piece_before_it_was_known_to_be_damaged_names_nothing(bucket):
    hash = shared_piece()
    ObjectStore(bucket.url).put(hash, b"damaged")
    assert piece_table.claim(bucket.url, [hash]) == {hash}
    piece_table.drop_damaged(ObjectStore(bucket.url), [hash])
    with transaction.atomic(), pytest.raises(PiecesGone):
        piece_table.name(bucket.url, [hash])


def test_a_piece_sent_again_after_the_first_look_stays(bucket, monkeypatch):
    hash = shared_piece()
    store = ObjectStore(bucket.url)
    (sound,) = store.get([hash])
    store.put(hash, b"damaged")
    find, looks = ObjectStore.find_damaged, []

    def found(self, hashes, **options):
        damaged = find(self, hashes, **options)
        looks.append(damaged)
        store.put(hash, sound)
        return damaged

    monkeypatch.setattr(ObjectStore, "find_damaged", found)
    assert piece_table.drop_damaged(store, [hash]) == 0
    assert looks == [[hash], []]
    assert Piece.objects.get(hash=hash).place == bucket.url


def test_only_the_damaged_bytes_are_deleted_and_not_those_of_a_writer_since(monkeypatch):
    hash = shared_piece()
    sound = bytes(Piece.objects.get(hash=hash).data)
    damage_here(hash)

    def sent_meanwhile(data):
        Piece.objects.filter(hash=hash).update(data=sound)
        return hash_of(data)

    monkeypatch.setattr(piece_table, "hash_of", sent_meanwhile)
    assert piece_table.drop_damaged(None, [hash]) == 0
    assert bytes(Piece.objects.get(hash=hash).data) == sound


def test_a_checkpoint_with_a_damaged_header_is_written_again(caplog):
    learned(5, start=0)
    damage([active()])
    restart()
    learner.learn(0)
    assert "cannot be read" in caplog.text
    restart()
    caplog.clear()
    learner.learn(0)
    assert "cannot be read" not in caplog.text
    assert fresh_fold.verify(active()) == active().digest == warm().digest()


def test_pieces_of_another_place_than_the_present_one_stay_as_they_are(bucket, settings, caplog):
    hash = shared_piece()
    ObjectStore(bucket.url).put(hash, b"damaged")
    settings.CHECKPOINT_STORE = ""
    restart()
    learner.learn(0)
    assert "cannot be read" in caplog.text
    assert Piece.objects.filter(hash=hash, place=bucket.url).exists()
    assert active().place == HERE
    assert fresh_fold.verify(active()) == active().digest
    restart()
    caplog.clear()
    learner.learn(0)
    assert "cannot be read" not in caplog.text
