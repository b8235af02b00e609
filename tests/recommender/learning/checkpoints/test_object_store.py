"""Test checkpoints whose pieces are in an object store, against a local S3 server."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.awsrequest import AWSResponse
from django.core.management import call_command
from django.db import connection, connections, transaction

from recommender import tasks
from recommender.control import learning_switch
from recommender.core.checkpoint import CheckpointCorrupt, hash_of
from recommender.learning import active_checkpoint, fresh_fold, learner, warm_pipeline
from recommender.learning.checkpoints import forked_writer, piece_table, state_writer, thinning
from recommender.learning.checkpoints.object_store import DELETE_TIMEOUT_S, ObjectStore, StoreUnavailable
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import UNFINISHED, Checkpoint, Learner, Piece, Revert
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.object_stores import local_store
from tests.help.patience import wait_for

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
    active_checkpoint.finish(learner.in_memory(0), Learner.objects.get(), wait=True)
    digest = warm().digest()
    assert (active().step, active().place, active().digest) == (1, bucket.url, digest)
    assert bucket.names() == names()
    assert not Piece.objects.exclude(data=None).exists()
    restart()
    learner.learn(0)
    assert warm().digest() == digest
    forked_writer.forget()


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
    thinning.thin_pieces()
    age(7 * DAY_S - 60)
    thinning.thin_pieces()
    assert bucket.names() >= own
    age(120)
    thinning.thin_pieces()
    assert bucket.names() == names()
    assert {bytes(hash).hex() for hash in Piece.objects.values_list("hash", flat=True)} == names()


def without_checkpoints():
    """Drop all checkpoints, and let their pieces be too old."""
    Learner.objects.update(checkpoint=None)
    Checkpoint.objects.all().delete()
    thinning.thin_pieces()
    age(8 * DAY_S)


def test_no_transaction_has_an_id_while_the_store_deletes(bucket, monkeypatch):
    """Otherwise the log's readers of all shards would wait for the store."""
    learned()
    without_checkpoints()
    delete, with_id = ObjectStore.delete, []

    def watched(store, hashes):
        assert not connection.in_atomic_block
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
            )
            with_id.append(cursor.fetchone()[0])
        delete(store, hashes)

    monkeypatch.setattr(ObjectStore, "delete", watched)
    thinning.thin_pieces()
    assert with_id
    assert not any(with_id)
    assert bucket.names() == set()
    assert not Piece.objects.exists()


def test_a_deletion_is_one_short_request(bucket):
    """Count what arrives at a store that answers each request with an error."""
    store = ObjectStore(bucket.url)
    config = store._hasty_client.meta.config
    assert (config.read_timeout, config.retries["total_max_attempts"]) == (DELETE_TIMEOUT_S, 1)
    asked = []
    store._hasty_client.meta.events.register("before-send.s3.DeleteObjects", lambda **_: _answer_500(asked))
    with pytest.raises(StoreUnavailable, match="refuses"):
        store.delete([hash_of(b"one")])
    assert len(asked) == 1


def _answer_500(asked):
    asked.append(1)
    return AWSResponse("http://store", 500, {}, _Empty())


class _Empty:
    def stream(self):
        return iter(())


def test_a_store_that_fails_to_delete_is_asked_again(bucket, monkeypatch, caplog):
    learned()
    n = len(bucket.names())
    without_checkpoints()
    with monkeypatch.context() as away:
        away.setattr(ObjectStore, "delete", _refuse)
        thinning.thin_pieces()
    assert "wait to be deleted: away" in caplog.text
    assert len(bucket.names()) == n
    assert set(Piece.objects.values_list("place", flat=True)) == {f"deleting {bucket.url}"}
    thinning.thin_pieces()
    assert bucket.names() == set()
    assert not Piece.objects.exists()


def test_a_piece_sent_again_before_the_store_deleted_it_stays(bucket, monkeypatch):
    learned()
    digest = warm().digest()
    without_checkpoints()
    with monkeypatch.context() as away:
        away.setattr(ObjectStore, "delete", _refuse)
        thinning.thin_pieces()
    columns = state_writer.keep(learner.in_memory(0).pipeline)
    row = Learner.objects.get()
    written = state_writer.name_checkpoint(columns, 0, 1, Position(), row.recipe, None)
    thinning.thin_pieces()
    assert names(written) == bucket.names()
    assert set(Piece.objects.values_list("place", flat=True)) == {bucket.url}
    assert fresh_fold.verify(written) == digest


def test_a_slow_writer_cannot_name_what_the_store_is_deleting(bucket, monkeypatch):
    learned()
    hashes = [bytes.fromhex(each) for each in bucket.names()]
    without_checkpoints()
    delete, refused = ObjectStore.delete, []

    def name():
        try:
            piece_table.name(bucket.url, hashes)
        except piece_table.PiecesGone as error:
            refused.append(error)

    def watched(store, gone):
        with transaction.atomic():
            name()
        delete(store, gone)

    monkeypatch.setattr(ObjectStore, "delete", watched)
    thinning.thin_pieces()
    assert refused


def test_the_thinner_leaves_a_store_that_is_written_to(bucket):
    learned()
    before = bucket.names()
    without_checkpoints()
    with ThreadPoolExecutor(1) as pool, piece_table.sending(bucket.url):
        pool.submit(_in_a_session, thinning.thin_pieces).result()
        assert bucket.names() == before
    thinning.thin_pieces()
    assert bucket.names() == set()


def test_a_writer_waits_while_the_store_deletes(bucket, monkeypatch):
    learned()
    without_checkpoints()
    delete, done = ObjectStore.delete, []
    with ThreadPoolExecutor(1) as pool:

        def watched(store, hashes):
            if not done:
                done.append(pool.submit(_in_a_session, _send_one, bucket.url))
                wait_for(_is_waited_for)
                assert not done[0].done()
            delete(store, hashes)

        monkeypatch.setattr(ObjectStore, "delete", watched)
        thinning.thin_pieces()
        done[0].result()
    assert hash_of(b"one").hex() in bucket.names()


def _send_one(url):
    with piece_table.sending(url):
        piece_table.insert(url, [hash_of(b"one")], [3], [None])
        ObjectStore(url).put(hash_of(b"one"), b"one")


def _in_a_session(call, *arguments):
    try:
        return call(*arguments)
    finally:
        connections.close_all()


def _is_waited_for():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return cursor.fetchone()[0] > 0


def _refuse(*_):
    raise StoreUnavailable("away")


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
    thinning.thin_pieces()
    age(DAY_S)
    thinning.thin_pieces()
    newer = bucket.names() - {bytes(each["hash"]).hex() for each in rows}
    assert newer
    Learner.objects.update(checkpoint=None, step=1)
    Checkpoint.objects.all().delete()
    Piece.objects.all().delete()
    Piece.objects.bulk_create(Piece(**each) for each in rows)
    restored = Checkpoint.objects.create(**yesterday | {"parent_id": None})
    Learner.objects.update(checkpoint=restored)
    restart()
    assert warm_pipeline.restore(Learner.objects.get()).pipeline.digest() == restored.digest
    thinning.thin_pieces()
    age(30 * DAY_S)
    thinning.thin_pieces()
    assert bucket.names() >= newer  # not this server's to delete, for its tables do not name them
    assert not Piece.objects.filter(hash__in=[bytes.fromhex(each) for each in newer]).exists()


def test_a_piece_without_a_name_is_sent_again_because_the_store_may_have_lost_it(bucket):
    learned()
    store = ObjectStore(bucket.url)
    Learner.objects.update(checkpoint=None)
    Checkpoint.objects.all().delete()
    thinning.thin_pieces()
    store.delete([bytes.fromhex(each) for each in bucket.names()])
    Learner.objects.update(
        checkpoint=Checkpoint.objects.create(shard=0, step=0, xid=0, seq=0, digest="", n_bytes=0, data=b"")
    )
    warmed = learner.in_memory(0)
    row = Learner.objects.get()
    warmed.checkpoint_id = row.checkpoint_id
    active_checkpoint.write(warmed, row)
    assert bucket.names() == names(active())
    restart()
    assert warm_pipeline.restore(Learner.objects.get()).pipeline.digest() == active().digest


def test_checkpoints_move_with_the_setting_and_old_ones_stay_readable(bucket, settings):
    learned()
    settings.CHECKPOINT_STORE = ""
    learned(5, start=5)
    places = dict(Checkpoint.objects.values_list("step", "place"))
    assert (places[1], places[2]) == (bucket.url, piece_table.HERE)
    for each in Checkpoint.objects.filter(step__gt=0):
        assert fresh_fold.verify(each) == each.digest


def test_a_checkpoint_is_exported_from_the_store_and_imported(bucket, tmp_path, settings):
    learned()
    checkpoint = active()
    file = tmp_path / "checkpoint"
    call_command("checkpoint", "export", checkpoint.pk, str(file))
    settings.CHECKPOINT_STORE = ""
    call_command("checkpoint", "import", str(file), "--shard", 3)
    assert Learner.objects.get(shard=3).checkpoint.digest == checkpoint.digest
