"""The learner learns every event once, to the last bit, after any failure."""

import time
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.signals import post_save

from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.pipeline import Pipeline
from recommender.core.trust import TrustConfig
from recommender.learning import active_checkpoint, fresh_fold, learner, pipeline_settings, warm_pipeline
from recommender.learning.checkpoints.state_writer import store_checkpoint
from recommender.learning.refold import LogIncomplete
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Item, Learner, Step
from recommender.publishing import published_boards
from tests.help.damaged_states import damage, damage_a_piece
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks, events
from tests.help.old_format import dump_old

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


FRESH = TrustConfig().floor  # no one here has come back yet


@pytest.fixture
def _nothing_fades(settings):
    """However long a machine takes from one event to the next."""
    settings.HALF_LIVES_S = [10**7]


def board(scope=""):
    """Return the board that a web process sees right after its start."""
    reader = published_boards.ViewReader(published_boards.connect())
    return reader.board(scope)


@pytest.mark.usefixtures("_nothing_fades")
def test_what_is_in_the_log_is_learned_and_shown():
    event_log.append(clicks(5))
    event_log.append(clicks(3, item="other"))
    assert learner.learn(0) == 8
    assert board().items == ["story", "other"]
    assert board().score(0) == pytest.approx(5 * FRESH, rel=1e-2)
    head = published_boards.ViewReader(published_boards.connect()).head()
    assert (head.state, abs(head.as_of - time.time()) < 60) == ("learning", True)


def test_learning_goes_on_where_it_stopped():
    event_log.append(clicks(5))
    learner.learn(0)
    event_log.append(clicks(5, start=5))
    assert learner.learn(0) == 5
    assert learner.learn(0) == 0
    row = Learner.objects.get()
    assert (row.n_events, row.step) == (10, 2)
    assert warm().n_events == 10


def test_a_step_records_what_it_took(settings):
    settings.STEP_EVENTS = 4
    event_log.append(clicks(10))
    learner.learn(0)
    steps = list(Step.objects.order_by("number"))
    assert [step.n_events for step in steps] == [4, 4, 2]
    assert [(step.from_xid, step.from_seq) for step in steps[1:]] == [(s.to_xid, s.to_seq) for s in steps[:-1]]
    assert sum(step.n_predicted for step in steps) == 10


@pytest.mark.parametrize("checkpoint_every_s", [0.0, 1e9])
def test_a_restart_arrives_at_the_same_state(settings, checkpoint_every_s):
    settings.CHECKPOINT_EVERY_S = checkpoint_every_s
    settings.STEP_EVENTS = 7
    for number in range(5):
        event_log.append(clicks(10, start=7 * number, item=f"story-{number % 2}"))
        learner.learn(0)
    digest = warm().digest()
    restart()
    assert learner.learn(0) == 0
    assert warm().digest() == digest
    event_log.append(clicks(1, start=999))
    assert learner.learn(0) == 1


def test_the_log_folds_to_the_digest_of_every_checkpoint():
    for number in range(4):
        event_log.append(clicks(20, start=15 * number, item=f"story-{number}"))
        learner.learn(0)
    checkpoints = list(Checkpoint.objects.order_by("step"))
    assert len(checkpoints) > 3
    for checkpoint in checkpoints:
        assert fresh_fold.verify(checkpoint) == checkpoint.digest
    assert fresh_fold.verify(checkpoints[-1], start=checkpoints[1]) == checkpoints[-1].digest


def test_a_damaged_checkpoint_is_left_aside(caplog):
    event_log.append(clicks(5))
    learner.learn(0)
    digest = warm().digest()
    newest = Checkpoint.objects.latest("id")
    damage([newest])
    restart()
    learner.learn(0)
    assert warm().digest() == digest
    assert "cannot be read" in caplog.text


def test_a_checkpoint_with_a_damaged_piece_is_left_aside(caplog):
    event_log.append(clicks(5))
    learner.learn(0)
    digest = warm().digest()
    damage_a_piece(Checkpoint.objects.latest("id"))
    restart()
    learner.learn(0)
    assert warm().digest() == digest
    assert "a piece of the checkpoint is damaged" in caplog.text


def test_with_every_checkpoint_damaged_the_log_is_folded_from_nothing(caplog):
    event_log.append(clicks(5))
    learner.learn(0)
    digest = warm().digest()
    damage()
    restart()
    learner.learn(0)
    assert warm().digest() == digest
    assert "no sound checkpoint" in caplog.text


def test_of_two_learners_at_one_position_one_wins_and_the_other_starts_over():
    event_log.append(clicks(5))
    learner.learn(0)
    loser = warm_pipeline.restore(Learner.objects.get())
    stale = Learner.objects.get()
    event_log.append(clicks(5, start=5))
    part = learner.read_next(loser, 100)
    learner.learn(0)  # the winner
    with pytest.raises(warm_pipeline.LearnerMoved):
        learner.take_step(loser, stale, part)
    assert Learner.objects.get().n_events == 10
    assert Step.objects.count() == 2
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == warm().digest()


def test_learning_goes_on_while_the_store_is_down(settings, view_store, caplog):
    learner.learn(0)
    settings.VIEW_URL = "redis://127.0.0.1:1/0"
    restart()
    for number in range(3):
        event_log.append(clicks(5, start=5 * number))
        assert learner.learn(0) == 5
    assert caplog.text.count("does not answer") == 1


def test_a_frozen_learner_leaves_events_pending():
    event_log.append(clicks(5))
    learner.learn(0)
    Learner.objects.update(state=Learner.State.FROZEN)
    event_log.append(clicks(5, start=5, item="other"))
    assert learner.learn(0) == 0
    assert published_boards.ViewReader(published_boards.connect()).head().state == "frozen"
    assert board().items == ["story"]
    Learner.objects.update(state=Learner.State.LEARNING)
    assert learner.learn(0) == 5


def test_a_failed_commit_leaves_memory_and_database_together():
    event_log.append(clicks(5))
    learner.learn(0)
    event_log.append(clicks(5, start=5))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE recommender_step ADD CONSTRAINT refuse CHECK (number < 2)")
    with pytest.raises(Exception, match="refuse"):
        learner.learn(0)
    assert learner.in_memory(0) is None
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE recommender_step DROP CONSTRAINT refuse")
    assert learner.learn(0) == 5
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == warm().digest()


def test_a_store_that_lost_its_data_is_filled_at_the_next_wake(view_store):
    event_log.append(clicks(5))
    learner.learn(0)
    view_store.flushdb()
    assert learner.learn(0) == 0
    assert board().items == ["story"]


def test_boards_know_what_may_be_listed(settings):
    event_log.append(clicks(5, item="hidden"))
    event_log.append(clicks(4, item="tomorrow"))
    event_log.append(clicks(3, item="sports news"))
    event_log.append(clicks(2, item="unknown"))
    Item.objects.create(id="hidden", is_hidden=True, categories=["sports"])
    Item.objects.create(id="tomorrow", published_at="2999-01-01T00:00Z", categories=["sports"])
    Item.objects.create(id="sports news", categories=["sports", "local"])
    learner.learn(0)
    assert board().items == ["sports news", "unknown"]
    assert board("category:sports").items == board("category:local").items == ["sports news"]
    assert board("category:none").items == []
    Item.objects.filter(id="hidden").update(is_hidden=False)
    learner.learn(0)
    assert board().items == ["hidden", "sports news", "unknown"]
    assert board("category:sports").items == ["hidden", "sports news"]


def test_boards_by_country():
    event_log.append(events("abc", ["x", "x", "y"], country=["DE", "FR", "DE"]))
    learner.learn(0)
    assert sorted(board("country:DE").items) == ["x", "y"]
    assert board("country:FR").items == ["x"]


@pytest.mark.usefixtures("_nothing_fades")
def test_shards_publish_their_sum(settings):
    settings.SHARDS = 2
    event_log.append(clicks(50))
    event_log.append(clicks(20, item="other"))
    assert learner.learn(0) + learner.learn(1) == 70
    assert Learner.objects.get(shard=0).n_events > 10
    assert Learner.objects.get(shard=1).n_events > 10
    assert board().items == ["story", "other"]
    assert board().score(0) == pytest.approx(50 * FRESH, rel=1e-2)


def checkpoints_after(number):
    """Take step `number`, and return how many checkpoints there are then."""
    event_log.append(clicks(1, start=number))
    assert learner.learn(0) == 1
    return Checkpoint.objects.count()


def test_checkpoints_stand_as_far_apart_as_the_settings_say(settings, clock):
    settings.CHECKPOINT_EVERY_S = 60.0
    before = checkpoints_after(1)
    clock.forward(59.9)
    assert checkpoints_after(2) == before
    clock.forward(0.1)
    assert checkpoints_after(3) == before + 1


def test_checkpoints_cost_a_share_of_the_time_at_most(clock, request):
    def take_long(**more):
        clock.forward(2.0)

    learner.get_learner(0)  # makes the checkpoint of an empty Pipeline too
    post_save.connect(take_long, sender=Checkpoint)
    request.addfinalizer(lambda: post_save.disconnect(take_long, sender=Checkpoint))
    before = checkpoints_after(1)
    clock.forward(2.0 / active_checkpoint.CHECKPOINT_SHARE - 0.1)
    assert checkpoints_after(2) == before
    clock.forward(0.1)
    assert checkpoints_after(3) == before + 1


def test_two_small_steps_stand_apart(settings, clock):
    settings.PUBLISH_EVERY_S = 1.0
    event_log.append(clicks(1))
    assert learner.learn(0) == 1
    event_log.append(clicks(1, start=1))
    clock.forward(0.8)
    assert learner.learn(0) == 0
    clock.forward(0.2)
    assert learner.learn(0) == 1


def test_verify_says_when_the_log_no_longer_reaches_back():
    for number in range(3):
        event_log.append(clicks(5, start=5 * number))
        learner.learn(0)
    newest = Checkpoint.objects.latest("id")
    Step.objects.filter(number=1).delete()
    with pytest.raises(LogIncomplete):
        fresh_fold.verify(newest)
    assert fresh_fold.verify(newest, start=Checkpoint.objects.get(step=2)) == newest.digest


def test_a_checkpoint_goes_out_to_a_file_and_into_another_shard(tmp_path):
    event_log.append(clicks(5))
    learner.learn(0)
    newest = Checkpoint.objects.latest("id")
    call_command("checkpoint", "export", newest.pk, tmp_path / "state")
    alone = Pipeline.from_bytes((tmp_path / "state").read_bytes())
    assert alone.board(10).items == ["story"]
    call_command("checkpoint", "import", tmp_path / "state", "--shard", "1")
    assert Learner.objects.get(shard=1).checkpoint.digest == newest.digest
    with pytest.raises(CommandError, match="has learned already"):
        call_command("checkpoint", "import", tmp_path / "state", "--shard", "0")
    written = (tmp_path / "state").read_bytes()
    wrong = {
        b"GSWCKP01 and then some": "not a checkpoint",
        b"GSWCKP02 and then some": "damaged",
        written[:-1]: "damaged",
    }
    for data, reason in wrong.items():
        (tmp_path / "state").write_bytes(data)
        with pytest.raises(CommandError, match=reason):
            call_command("checkpoint", "import", tmp_path / "state", "--shard", "1")


def test_a_file_of_the_format_before_can_be_imported(tmp_path):
    event_log.append(clicks(5))
    learner.learn(0)
    (tmp_path / "state").write_bytes(dump_old(warm().state()))
    call_command("checkpoint", "import", tmp_path / "state", "--shard", "1")
    assert Learner.objects.get(shard=1).checkpoint.digest == warm().digest()


def test_the_verify_command_fails_when_a_digest_differs(capsys):
    event_log.append(clicks(5))
    learner.learn(0)
    call_command("checkpoint", "verify")
    assert "the same digest" in capsys.readouterr().out
    newest = Checkpoint.objects.latest("id")
    other = store_checkpoint(
        Pipeline(pipeline_settings.configured()), 0, 1, Position(newest.xid, newest.seq), newest.recipe, None
    )
    with pytest.raises(CommandError, match="the log folds to"):
        call_command("checkpoint", "verify", other.pk)
    Checkpoint.objects.filter(pk=newest.pk).update(digest="0" * 64)
    with pytest.raises(CommandError, match="its digest does not match"):
        call_command("checkpoint", "verify")
    with pytest.raises(CommandError, match="there is no checkpoint 999"):
        call_command("checkpoint", "verify", "999")


def test_a_rebuild_learns_the_log_again_as_the_settings_are_now(settings):
    for number in range(3):
        event_log.append(clicks(5, start=5 * number))
        learner.learn(0)
    settings.HALF_LIVES_S = [60]
    call_command("model", "rebuild")
    event_log.append(clicks(5, start=50))
    assert learner.learn(0) == 5
    assert warm().config == replace(pipeline_settings.configured(), half_lives_s=(60,))
    assert warm().n_events == 20
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == warm().digest()


def test_a_step_of_the_old_state_after_a_rebuild_is_folded_again_from_the_new_one(settings):
    """A learner sees the new state at its next wake, and may be in the middle of one."""
    event_log.append(clicks(5))
    learner.learn(0)
    row, old = Learner.objects.get(), learner.in_memory(0)
    settings.HALF_LIVES_S = [60]
    rebuilt = fresh_fold.rebuild(Learner.objects.get())
    event_log.append(clicks(5, start=5))
    learner.take_step(old, row, learner.read_next(old, 100))
    with pytest.raises(learner.LearnerMoved):  # the old state becomes no checkpoint
        active_checkpoint.write(old, row)
    assert Learner.objects.get().checkpoint == rebuilt
    event_log.append(clicks(5, start=10))
    assert learner.learn(0) == 5
    assert warm().config.half_lives_s == (60,)
    assert warm().n_events == Learner.objects.get().n_events == 15
    newest = Learner.objects.get().checkpoint
    assert newest.step == 3
    assert fresh_fold.verify(newest) == newest.digest == warm().digest()


def test_a_learner_without_a_log_that_reaches_back_says_so():
    event_log.append(clicks(5))
    learner.learn(0)
    damage()
    Step.objects.all().delete()
    restart()
    with pytest.raises(LogIncomplete, match="still recorded"):
        learner.learn(0)
    with pytest.raises(CheckpointCorrupt):
        Pipeline.from_bytes(b"nothing")
