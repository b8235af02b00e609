"""Test checkpoints that a forked process writes while the learner goes on."""

import gc
import os
import select
import signal
from concurrent.futures import Future

import pytest
from django.db import DataError, connection

from recommender.learning import active_checkpoint, fresh_fold, learner
from recommender.learning.checkpoints import forked_writer, state_writer, thinning
from recommender.learning.checkpoints.forked_writer import LIMIT_S, THIN_PIECES_EVERY_S, CheckpointFailed
from recommender.learning.warm_pipeline import LearnerMoved
from recommender.log import event_log
from recommender.models import Checkpoint, Learner, Piece
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.patience import wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


@pytest.fixture(autouse=True)
def _forked(settings, fresh_process):
    settings.CHECKPOINT_FORK = True
    yield
    forked_writer.forget()


@pytest.fixture
def gate(monkeypatch):
    """Hold the forked process before it writes a piece, until the test opens the gate."""
    reading, writing = os.pipe()
    keep = state_writer.keep

    def held(pipeline, between=None, **options):
        os.close(writing)
        os.read(reading, 1)
        return keep(pipeline, between, **options)

    monkeypatch.setattr(forked_writer, "keep", held)
    yield lambda: os.write(writing, b"x")
    os.close(reading)
    os.close(writing)


def learned(n=5, start=0):
    event_log.append(clicks(n, start=start))
    learner.learn(0)
    return learner.in_memory(0)


def finish():
    active_checkpoint.finish(learner.in_memory(0), Learner.objects.get(), wait=True)


def active():
    return Learner.objects.select_related("checkpoint").get().checkpoint


def test_the_learner_goes_on_while_a_checkpoint_is_written(gate):
    warmed = learned()
    digest = warm().digest()
    assert warmed.snapshot.writing.pid != os.getpid()
    learned(5, start=5)
    learned(5, start=10)
    assert Learner.objects.get().step == 3
    assert active().step == 0
    gate()
    finish()
    assert (active().step, active().digest) == (1, digest)
    assert learner.in_memory(0).stand[:3] == (3, active().pk, 0)
    assert fresh_fold.verify(active()) == digest


def test_a_finished_checkpoint_is_taken_up_by_a_later_wake():
    learned()
    pid = learner.in_memory(0).snapshot.writing.pid
    wait_for(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))
    wait_for(lambda: learner.learn(0) == 0 and active().step == 1)
    assert active().digest == warm().digest()
    restart()
    learner.learn(0)
    assert warm().digest() == active().digest


def test_at_most_one_is_under_way(gate):
    learned()
    snapshot = learner.in_memory(0).snapshot
    learned(5, start=5)
    assert learner.in_memory(0).snapshot is snapshot
    assert forked_writer.is_running()
    gate()
    finish()
    assert not forked_writer.is_running()
    learner.learn(0)
    assert learner.in_memory(0).snapshot.step == 2


def test_the_forked_process_has_a_connection_of_its_own(gate):
    learned()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (before,) = cursor.fetchone()
    gate()
    finish()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == (before,)
    assert active().step == 1


def test_the_forked_process_holds_no_socket_of_the_learner(monkeypatch):
    """Otherwise a server would take a killed learner for alive.

    It would keep the locks of its transaction.
    """
    connection.ensure_connection()
    of_learner = connection.connection.pgconn.socket

    def look(*_, **__):
        raise DataError("open" if os.path.exists(f"/dev/fd/{of_learner}") else "closed")

    monkeypatch.setattr(forked_writer, "thin", lambda *_, **__: None)
    monkeypatch.setattr(forked_writer, "keep", look)
    learned()
    finish()
    assert Learner.objects.get().checkpoint_error == "DataError: closed"


@pytest.mark.parametrize("when", ["before a piece", "after the pieces"])
def test_a_writer_that_is_killed_costs_only_this_checkpoint(when, gate, monkeypatch, caplog):
    warmed = learned()
    if when == "after the pieces":
        state_writer.keep(warmed.pipeline)
    os.kill(warmed.snapshot.writing.pid, signal.SIGKILL)
    finish()
    assert active().step == 0
    row = Learner.objects.get()
    assert "ended with -9" in row.checkpoint_error
    assert (row.n_checkpoint_failures, row.checkpoint_failed_at is not None) == (1, True)
    assert "learning goes on" in caplog.text
    assert learner.in_memory(0) is warmed
    monkeypatch.undo()
    warmed.checkpoint_due_at = 0.0
    learned(5, start=5)
    finish()
    assert active().step == 2
    row.refresh_from_db()
    assert (row.checkpoint_error, row.checkpoint_failed_at, row.n_checkpoint_failures) == ("", None, 1)


def test_an_error_of_the_database_is_named_and_drops_nothing(monkeypatch, caplog):
    def disk_is_full(*_, **__):
        raise DataError("could not extend file: No space left on device")

    monkeypatch.setattr(forked_writer, "keep", disk_is_full)
    warmed = learned()
    finish()
    assert "No space left on device" in Learner.objects.get().checkpoint_error
    assert "No space left on device" in caplog.text
    assert "does not answer" not in caplog.text
    assert learner.in_memory(0) is warmed
    event_log.append(clicks(5, start=5))
    assert learner.learn(0) == 5


def test_an_error_in_the_row_that_names_the_pieces_drops_nothing(monkeypatch, caplog):
    def refused(*_, **__):
        raise DataError("no room for the row")

    warmed = learned()
    monkeypatch.setattr(state_writer, "name_checkpoint", refused)
    finish()
    assert "no room for the row" in Learner.objects.get().checkpoint_error
    event_log.append(clicks(5, start=5))
    assert learner.learn(0) == 5
    assert learner.in_memory(0) is warmed


def test_a_writer_that_hangs_is_ended(gate, clock):
    warmed = learned()
    pid = warmed.snapshot.writing.pid
    clock.forward(LIMIT_S + 1)
    learner.learn(0)
    assert "not written within" in Learner.objects.get().checkpoint_error
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_writer_that_its_shard_no_longer_polls_blocks_no_other(gate, clock, caplog):
    warmed = learned()
    writing = warmed.snapshot.writing
    assert forked_writer.is_running()
    clock.forward(LIMIT_S + 1)
    assert not forked_writer.is_running()
    assert f"process {writing.pid} wrote a checkpoint for more than" in caplog.text
    with pytest.raises(ChildProcessError):
        os.waitpid(writing.pid, 0)
    with pytest.raises(CheckpointFailed, match="was ended"):
        writing.poll()
    other = forked_writer.begin(warmed.pipeline, 1)
    assert other.poll() is None
    finish()
    assert "was ended" in Learner.objects.get().checkpoint_error


def test_the_kernel_is_offered_the_writer_before_the_learner(monkeypatch):
    def look(*_, **__):
        with open(forked_writer.OOM_SCORE) as file:
            raise DataError(f"score {file.read().strip()}")

    monkeypatch.setattr(forked_writer, "keep", look)
    with open(forked_writer.OOM_SCORE) as file:
        before = file.read()
    learned()
    finish()
    assert Learner.objects.get().checkpoint_error == "DataError: score 1000"
    with open(forked_writer.OOM_SCORE) as file:
        assert file.read() == before


def test_where_the_score_cannot_be_changed_the_checkpoint_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(forked_writer, "OOM_SCORE", str(tmp_path / "none" / "score"))
    learned()
    finish()
    assert active().step == 1


def test_pieces_are_thinned_once_a_minute_whatever_shard_writes(clock, tmp_path, monkeypatch):
    thinned = tmp_path / "thinned"  # written by the forked processes
    monkeypatch.setattr(thinning, "thin_pieces", lambda: thinned.write_text(_text(thinned) + "x"))
    pipeline = learned().pipeline
    finish()
    forked_writer.begin(pipeline, 1).wait()
    assert _text(thinned) == "x"
    clock.forward(THIN_PIECES_EVERY_S)
    forked_writer.begin(pipeline, 1).wait()
    forked_writer.begin(pipeline, 0).wait()
    assert _text(thinned) == "xx"


def _text(path):
    return path.read_text() if path.exists() else ""


def test_a_writer_ends_when_its_learner_is_gone():
    """A process between the test and the writer is killed, as a learner might be."""
    warmed = learned()
    finish()
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        forked_writer._let_go_of_connections()
        os.close(reading)
        forked_writer.keep = lambda _pipeline, stop_if_alone, **_: [stop_if_alone() for _ in iter(int, 1)]
        os.write(writing, str(forked_writer.begin(warmed.pipeline, 0).pid).encode())
        signal.pause()
    pid = int(os.read(reading, 100))
    os.close(writing)
    assert not select.select([reading], [], [], 0.5)[0]  # the writer lives, for it holds the other end
    os.kill(between, signal.SIGKILL)
    os.waitpid(between, 0)
    assert os.read(reading, 1) == b""
    os.close(reading)
    assert pid
    assert active().step == 1


def test_after_a_revert_the_checkpoint_under_way_is_not_taken(gate):
    learned()
    row = Learner.objects.get()
    Learner.objects.update(n_reverts=1)
    gate()
    with pytest.raises(LearnerMoved):
        active_checkpoint.finish(learner.in_memory(0), row, wait=True)
    assert active().step == 0
    assert not Checkpoint.objects.filter(step=1).exists()


def test_a_dropped_pipeline_ends_its_checkpoint(gate):
    pid = learned().snapshot.writing.pid
    restart()
    assert not forked_writer.is_running()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_it_waits_for_a_forest_that_is_fitted_in_a_thread():
    """A forked process has no such thread, and would wait for its result for ever."""
    warmed = learned()
    finish()
    fit = Future()
    warmed.pipeline.screen.forests._fitting = fit
    warmed.checkpoint_due_at = 0.0
    warmed.step += 1
    active_checkpoint.begin(warmed, Learner.objects.get())
    assert warmed.snapshot is None
    fit.set_result({})
    active_checkpoint.begin(warmed, Learner.objects.get())
    assert warmed.snapshot is not None
    warmed.give_up()


def test_where_the_kernel_refuses_to_fork_the_learner_waits(monkeypatch, caplog):
    def refuse():
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "fork", refuse)
    learned()
    assert active().step == 1
    assert "no process can be forked" in caplog.text


def test_where_forking_is_switched_off_the_learner_waits(settings):
    settings.CHECKPOINT_FORK = False
    warmed = learned()
    assert warmed.snapshot is None
    assert active().step == 1


def test_the_writer_thins_and_reports_the_share_that_was_there():
    learned()
    finish()
    first = active()
    assert first.n_new_bytes <= first.n_bytes
    learned(1, start=5)
    finish()
    second = active()
    assert 0 < second.n_new_bytes <= second.n_bytes
    assert second.share_unchanged == 1 - second.n_new_bytes / second.n_bytes
    named = {bytes(each) for row in Checkpoint.objects.all() for each in row.pieces}
    assert {bytes(hash) for hash in Piece.objects.values_list("hash", flat=True)} >= named


def test_a_result_that_cannot_be_is_a_failure():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.close(writing)
    with pytest.raises(CheckpointFailed, match="ended with 0"):
        forked_writer.Writing(pid, reading, 0.0).wait()


def test_objects_are_frozen_only_while_a_checkpoint_is_written(gate):
    learned()
    assert gc.get_freeze_count() > 0
    gate()
    finish()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("call", ["pipe", "fork"])
def test_nothing_stays_frozen_where_no_process_can_be_made(call, monkeypatch):
    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, call, refuse)
    learned()
    assert active().step == 1
    assert gc.get_freeze_count() == 0
