"""No state with the actor outlives an erasure, however late the learner names it."""

from math import inf

import pytest
from django.db import connection

from recommender.control import erasures, shard_erasure
from recommender.core.state_versions import StateUnfit
from recommender.learning import active_checkpoint, fresh_fold, learner, warm_pipeline
from recommender.learning.checkpoints import state_writer
from recommender.models import Checkpoint, Learner, Piece
from tests.help.learner_process import restart, warm
from tests.recommender.control.test_erasures import MAL, ZERO, erase, learned, mixed, never_received

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


class StateUnderWay:
    """A state of step 3 that is being written, while the learner is at step 5."""

    def __init__(self):
        learned(mixed(1), mixed(2))
        learner.in_memory(0).checkpoint_due_at = inf
        learned(mixed(3))
        self.taken = learner.in_memory(0)
        self.snapshot = warm_pipeline.Snapshot(self.taken.step, self.taken.position, 0.0, None)
        self.columns = state_writer.keep(self.taken.pipeline)
        learned(mixed(4), mixed(5))

    def install(self):
        """Name the state and make it the learner's, as its writer's end does."""
        return active_checkpoint.install(self.taken, Learner.objects.get(), self.snapshot, self.columns)


def before(monkeypatch, name, do):
    """Do something once, before a method of ShardErasure."""
    method, done = getattr(shard_erasure.ShardErasure, name), []

    def late(way, *args, **more):
        if not done:
            done.append(do())
        return method(way, *args, **more)

    monkeypatch.setattr(shard_erasure.ShardErasure, name, late)
    return done


def check_erased(wanted):
    """Check that the learner goes on without the actor, also after a restart."""
    row = Learner.objects.get()
    assert erasures.traces_of(MAL) == ZERO
    assert warm().digest() == wanted
    assert fresh_fold.verify(row.checkpoint) == row.checkpoint.digest
    restart()
    learner.learn(0)
    assert warm().digest() == wanted


def test_a_state_named_after_the_fold_passed_it_does_not_stay_active(monkeypatch):
    way = StateUnderWay()
    installed = before(monkeypatch, "scrub_others", way.install)
    wanted = never_received()
    learner.in_memory(0).checkpoint_due_at = inf
    assert erase()["is_exact"]
    assert installed[0].step == 3
    assert not Checkpoint.objects.filter(pk=installed[0].pk).exists()
    check_erased(wanted)


def test_without_any_other_checkpoint_the_present_state_is_named(monkeypatch):
    way = StateUnderWay()
    Checkpoint.objects.exclude(pk=Learner.objects.get().checkpoint_id).delete()  # so the fold begins from nothing

    def install_and_thin():
        installed = way.install()
        Checkpoint.objects.exclude(pk=installed.pk).delete()
        return installed

    installed = before(monkeypatch, "scrub_others", install_and_thin)
    wanted = never_received()
    outcome = erase()
    assert (outcome["is_exact"], outcome["from_step"]) == (True, 0)
    assert not Checkpoint.objects.filter(pk=installed[0].pk).exists()
    assert Checkpoint.objects.filter(step=5).exists()
    check_erased(wanted)


def test_an_erasure_whose_pieces_were_deleted_begins_again(monkeypatch):
    way = StateUnderWay()
    Checkpoint.objects.exclude(pk=Learner.objects.get().checkpoint_id).delete()
    before(monkeypatch, "scrub_others", lambda: (way.install(), Checkpoint.objects.exclude(step=3).delete()))
    deleted = before(monkeypatch, "prepare", lambda: Piece.objects.all().delete())
    wanted = never_received()
    assert erase()["is_exact"]
    assert deleted
    check_erased(wanted)


def test_no_piece_is_sent_while_the_learner_is_locked(monkeypatch):
    way = StateUnderWay()
    keep, kept_in = state_writer.keep, []

    def noted(*args, **more):
        kept_in.append(connection.in_atomic_block)
        return keep(*args, **more)

    monkeypatch.setattr(state_writer, "keep", noted)

    def install_and_learn():
        way.install()
        learned(mixed(6), mixed(7))

    installed = before(monkeypatch, "keep_if_needed", install_and_learn)
    erase()
    assert installed
    assert kept_in
    assert not any(kept_in)
    check_erased(never_received())


def test_a_base_that_does_not_fit_gives_way_to_an_older_one(monkeypatch):
    learned(mixed(1, n=1), mixed(2, n=1), mixed(3), mixed(4))
    wanted, load = never_received(), shard_erasure.load_pipeline
    refused = []

    def load_unfit(row):
        if row.step == 2 and not refused:
            refused.append(row.pk)
            raise StateUnfit("a part of it does not fit")
        return load(row)

    monkeypatch.setattr(shard_erasure, "load_pipeline", load_unfit)
    outcome = erase()
    assert refused
    assert (outcome["is_exact"], outcome["from_step"]) == (True, 1)
    check_erased(wanted)
