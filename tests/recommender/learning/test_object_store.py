"""Test checkpoints whose pieces are in an object store, against a local S3 server."""

import pytest
from django.core.management import call_command
from django.db import connection

from recommender import tasks
from recommender.control import learning_switch
from recommender.core.checkpoint import CheckpointCorrupt, hash_of
from recommender.learning import checkpoint_process, checkpoint_thinning, learner, piece_table
from recommender.learning.object_store import ObjectStore, StoreUnavailable
from recommender.log import event_log
from recommender.models import UNFINISHED, Checkpoint, Learner, Piece, Revert
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.object_stores import local_store

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
DAY_S = 86_400


@pytest.fixture
def bucket(settings):
    with local_store() as found:
        settings.CHECKPOINT_STORE = found.url
        settings.BACKUP_KEEP_DAYS = 7
        yield found


def learned(n=5, start=0):
    event_log.append(clicks(n, start=start))
    assert learner.learn(0) == n


def names(*checkpoints):
    return {bytes(each).hex() for row in checkpoints or Checkpoint.objects.all() for each in row.pieces}


def age(by_s):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE recommender_piece SET unnamed_at = unnamed_at - make_interval(secs => %s)", [by_s])


def active():
    return Learner.objects.select_related("checkpoint").get().checkpoint


def test_pieces_come_back_and_go(bucket):
    store = ObjectStore(bucket.url)
    pieces = [(hash_of(data), data) for data in (b"one", b"", b"\x00" * 1_000_000)]
    store.put_all(pieces)
    store.put(*pieces[0])
    asked = [hash for hash, _ in reversed(pieces)]
    assert list(store.get(asked)) == [data for _, data in reversed(pieces)]
    store.delete(asked[:2])
    store.delete(asked[:2])
    assert bucket.names() == {pieces[0][0].hex()}
    with pytest.raises(CheckpointCorrupt, match="no longer"):
        list(store.get(asked))


@pytest.mark.parametrize("is_forked", [True, False])
def test_a_learner_restores_from_the_store(bucket, settings, is_forked):
    settings.CHECKPOINT_FORK = is_forked
    learned()
    learner.finish_checkpoint(learner.in_memory(0), Learner.objects.get(), wait=True)
    digest = warm().digest()
    assert (active().step, active().place, active().digest) == (1, bucket.url, digest)
    assert bucket.names() == names()
    assert not Piece.objects.exclude(data=None).exists()
    restart()
    learner.learn(0)
    assert warm().digest() == digest
    checkpoint_process.forget()


def test_a_store_that_is_away_stops_no_learning(bucket, caplog):
    learned()
    step = active().step
    bucket.stop()
    learner.in_memory(0).checkpoint_due_at = 0.0
    learned(5, start=5)
    learned(5, start=10)
    row = Learner.objects.get()
    assert (row.step, row.checkpoint.step) == (3, step)
    assert "does not answer" in row.checkpoint_error
    assert bucket.url in row.checkpoint_error
    assert "learning goes on" in caplog.text


def test_a_restore_that_cannot_reach_the_store_waits_instead_of_starting_from_nothing(bucket, caplog):
    learned()
    bucket.stop()
    restart()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        learner.learn(0)
    assert "no sound checkpoint" not in caplog.text
    assert Learner.objects.get().step == 1


def test_tasks_name_a_store_that_is_away_and_try_again(bucket, caplog, monkeypatch):
    monkeypatch.setattr(tasks, "RETRY_S", 0)
    learned()
    learning_switch.ask_for_revert(checkpoint_id=active().pk, mode="replay", exclusion=None, is_preview=False)
    bucket.stop()
    restart()
    tasks.learn(0)
    assert "learning waits: the checkpoint store" in caplog.text
    tasks.revert()
    assert "so the revert starts again later" in caplog.text
    assert "the database does not answer" not in caplog.text
    assert Revert.objects.get().state in UNFINISHED


def test_a_bucket_that_is_not_there_is_no_reason_to_start_from_nothing(bucket, settings):
    learned()
    for name in bucket.names():
        bucket.client.delete_object(Bucket=bucket.bucket, Key=f"of/groundswell/{name[:2]}/{name}")
    bucket.client.delete_bucket(Bucket=bucket.bucket)
    restart()
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        learner.learn(0)


def test_a_piece_stays_as_long_as_a_dump_may_name_it(bucket):
    learned()
    learned(5, start=5)
    first = Checkpoint.objects.get(step=1)
    own = names(first) - names(active())
    assert own
    first.delete()
    checkpoint_thinning.thin_pieces()
    age(7 * DAY_S - 60)
    checkpoint_thinning.thin_pieces()
    assert bucket.names() >= own
    age(120)
    checkpoint_thinning.thin_pieces()
    assert bucket.names() == names()
    assert {bytes(hash).hex() for hash in Piece.objects.values_list("hash", flat=True)} == names()


def test_a_server_restored_from_a_dump_finds_what_was_thinned_since(bucket):
    """Take the tables back to yesterday.

    The store has had a day of new checkpoints and of thinning.
    """
    learned()
    yesterday = Checkpoint.objects.values().get(pk=active().pk)
    rows = list(Piece.objects.values())
    learned(5, start=5)
    learned(5, start=10)
    Learner.objects.update(checkpoint=Checkpoint.objects.latest("id"))
    Checkpoint.objects.exclude(pk=active().pk).delete()
    checkpoint_thinning.thin_pieces()
    age(DAY_S)
    checkpoint_thinning.thin_pieces()
    newer = bucket.names() - {bytes(each["hash"]).hex() for each in rows}
    assert newer
    Learner.objects.update(checkpoint=None, step=1)
    Checkpoint.objects.all().delete()
    Piece.objects.all().delete()
    Piece.objects.bulk_create(Piece(**each) for each in rows)
    restored = Checkpoint.objects.create(**yesterday | {"parent_id": None})
    Learner.objects.update(checkpoint=restored)
    restart()
    assert learner.restore(Learner.objects.get()).pipeline.digest() == restored.digest
    checkpoint_thinning.thin_pieces()
    age(30 * DAY_S)
    checkpoint_thinning.thin_pieces()
    assert bucket.names() >= newer  # not this server's to delete, for its tables do not name them
    assert not Piece.objects.filter(hash__in=[bytes.fromhex(each) for each in newer]).exists()


def test_a_piece_without_a_name_is_sent_again_because_the_store_may_have_lost_it(bucket):
    learned()
    store = ObjectStore(bucket.url)
    Learner.objects.update(checkpoint=None)
    Checkpoint.objects.all().delete()
    checkpoint_thinning.thin_pieces()
    store.delete([bytes.fromhex(each) for each in bucket.names()])
    Learner.objects.update(
        checkpoint=Checkpoint.objects.create(shard=0, step=0, xid=0, seq=0, digest="", n_bytes=0, data=b"")
    )
    warmed = learner.in_memory(0)
    row = Learner.objects.get()
    warmed.checkpoint_id = row.checkpoint_id
    learner.write_checkpoint(warmed, row)
    assert bucket.names() == names(active())
    restart()
    assert learner.restore(Learner.objects.get()).pipeline.digest() == active().digest


def test_checkpoints_move_with_the_setting_and_old_ones_stay_readable(bucket, settings):
    learned()
    settings.CHECKPOINT_STORE = ""
    learned(5, start=5)
    places = dict(Checkpoint.objects.values_list("step", "place"))
    assert (places[1], places[2]) == (bucket.url, piece_table.HERE)
    for each in Checkpoint.objects.filter(step__gt=0):
        assert learner.verify(each) == each.digest


def test_a_checkpoint_is_exported_from_the_store_and_imported(bucket, tmp_path, settings):
    learned()
    checkpoint = active()
    file = tmp_path / "checkpoint"
    call_command("checkpoint", "export", checkpoint.pk, str(file))
    settings.CHECKPOINT_STORE = ""
    call_command("checkpoint", "import", str(file), "--shard", 3)
    assert Learner.objects.get(shard=3).checkpoint.digest == checkpoint.digest
