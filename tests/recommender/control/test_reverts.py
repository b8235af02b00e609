"""Learning freezes at once, thaws whole, and reverts without the excluded events."""

from math import inf

import numpy as np
import pytest
from django.conf import settings
from django.db import connection, transaction

from recommender.control import job_progress, learning_switch, reverts, shard_revert
from recommender.core.pipeline import Pipeline
from recommender.core.state_versions import FOLD_VERSION, StateUnfit
from recommender.core.vocabulary import Verdict
from recommender.errors import Conflict, Invalid, NotFound
from recommender.learning import fresh_fold, learner, pipeline_settings, refold, verdict_writer, warm_pipeline
from recommender.learning.checkpoints import state_writer
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Decision, EventVerdict, Learner, Piece, Revert, Step
from recommender.models.learning import beginning
from tests.help.killed_workers import Killed, die
from tests.help.learner_process import restart, warm
from tests.help.log_rows import actors_of, clicks, events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


def learned(*batches):
    """Learn batches of clicks, one step each."""
    for batch in batches:
        event_log.append(batch)
        learner.learn(0)


def revert(checkpoint, mode="replay", *, exclusion=None, is_preview=False):
    asked = learning_switch.ask_for_revert(
        checkpoint_id=checkpoint.pk, mode=mode, exclusion=exclusion, is_preview=is_preview
    )
    assert reverts.run_next()
    asked.refresh_from_db()
    assert asked.state == Revert.State.DONE, asked.error
    return asked


def at_step(number):
    return Checkpoint.objects.get(step=number)


def digest():
    """Return the digest of the state the learner goes on from."""
    learner.learn(0)
    return warm().digest()


def fold(*batches, without=()):
    """Return the digest of a pipeline that received these batches without some actors.

    Each batch is one step.
    """
    pipeline = Pipeline(pipeline_settings.configured())
    for step in Step.objects.order_by("number")[: len(batches)]:
        events = event_log.read_step(step)
        batch = refold.encode(pipeline, events)
        pipeline.step(batch.take(np.flatnonzero([actor not in without for actor in actors_of(events)])))
    return pipeline.digest()


ONE, TWO, THREE = clicks(20), clicks(20, start=20, item="mal's"), clicks(20, start=40)


def test_frozen_learning_stops_and_thawed_it_catches_up():
    learned(ONE)
    learning_switch.freeze()
    event_log.append(TWO)
    assert learner.learn(0) == 0
    assert Learner.objects.get().n_events == 20
    learning_switch.thaw()
    assert learner.learn(0) == 20
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == digest()


def test_of_two_who_freeze_one_is_told():
    learned(ONE)
    learning_switch.freeze()
    with pytest.raises(Conflict, match="already frozen"):
        learning_switch.freeze()
    learning_switch.thaw()
    with pytest.raises(Conflict, match="not frozen"):
        learning_switch.thaw()


def test_a_step_in_flight_is_not_committed_after_a_freeze():
    learned(ONE)
    row, loser = Learner.objects.get(), warm_pipeline.restore(Learner.objects.get())
    event_log.append(TWO)
    part = learner.read_next(loser, 100)
    learning_switch.freeze()
    with pytest.raises(warm_pipeline.LearnerMoved):
        learner.take_step(loser, row, part)
    assert Learner.objects.get().step == 1


def test_replay_arrives_where_it_was():
    learned(ONE, TWO, THREE)
    before = digest()
    revert(at_step(1), "replay")
    assert digest() == before
    assert Learner.objects.get().recipe == beginning()


def test_drop_forgets_everything_since():
    learned(ONE)
    before = digest()
    learned(TWO, THREE)
    revert(at_step(1), "drop")
    assert digest() == before
    event_log.append(clicks(5, start=60))
    assert learner.learn(0) == 5
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == warm().digest()
    assert Learner.objects.get().recipe == [[1, 1, None, FOLD_VERSION], [4, None, None, FOLD_VERSION]]


def test_exclude_arrives_at_what_never_saw_them():
    learned(ONE, TWO, THREE)
    without = {f"reader-{number}" for number in range(25, 45)} | set(TWO.actor[:3])
    done = revert(at_step(1), "exclude", exclusion=learning_switch.exclusion(actors=sorted(without)))
    assert digest() == fold(ONE, TWO, THREE, without=without)
    assert done.outcome["excluded"] > 0
    event_log.append(clicks(5, start=60))
    learner.learn(0)
    newest = Checkpoint.objects.latest("id")
    assert fresh_fold.verify(newest) == warm().digest()
    assert fresh_fold.verify(newest, start=at_step(1)) == warm().digest()
    restart()
    assert digest() == newest.digest


def test_a_revert_can_be_reverted():
    learned(ONE, TWO, THREE)
    state, before = at_step(3), digest()
    revert(at_step(1), "exclude", exclusion=learning_switch.exclusion(windows=[("mal's", 0, 2**50)]))
    assert digest() != before
    assert "mal's" not in warm().board(10).items
    revert(state, "replay")
    assert digest() == before
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == before


def test_back_on_a_history_given_up_its_steps_and_verdicts_are_its_own_again():
    learned(ONE)
    event_log.append(
        events(["bot-1", "bot-2", "ana"], ["x"] * 3, user_agent=["Googlebot/2.1", "Googlebot/2.1", None])
    )
    learner.learn(0)
    learned(THREE)
    given_up = at_step(3)
    kept = {"steps": list(Step.objects.order_by("number").values()), "verdicts": _verdicts()}
    assert len(kept["verdicts"]) == 2
    revert(at_step(1), "exclude", exclusion=learning_switch.exclusion(actors=["bot-1", "actor-41"]))
    assert len(_verdicts()) == 1
    learned(clicks(5, start=60))
    revert(given_up, "drop")
    assert list(Step.objects.filter(number__lte=3).order_by("number").values()) == kept["steps"]
    assert _verdicts() == kept["verdicts"]


def test_a_warm_learner_sees_a_drop_to_the_checkpoint_it_is_at(monkeypatch):
    learned(ONE)
    before = digest()
    keep = reverts.ShardRevert.keep

    def keep_and_learn(way):
        keep(way)
        if way.at_step == 1:
            settings.CHECKPOINT_EVERY_S = 1e9
            learner.in_memory(0).checkpoint_due_at = inf
            learned(TWO)

    monkeypatch.setattr(reverts.ShardRevert, "keep", keep_and_learn)
    revert(at_step(1), "drop")
    assert digest() == before


def _verdicts():
    return list(EventVerdict.objects.order_by("ordinal").values_list("ordinal", "step", "seq", "verdict"))


def test_a_preview_says_it_and_changes_nothing():
    learned(ONE, TWO, THREE)
    before, rows = digest(), list(Step.objects.values())
    exclusion = learning_switch.exclusion(windows=[("mal's", 0, 2**50)])
    outcome = revert(at_step(1), "exclude", exclusion=exclusion, is_preview=True).outcome
    assert outcome["changes"]["leaves"] == ["mal's"]
    assert outcome["excluded"] == 20
    assert outcome["quality"]["before"]["predictions"] == 40
    assert digest() == before
    assert list(Step.objects.values()) == rows


def test_one_revert_at_a_time_and_previews_beside_it():
    learned(ONE)
    ask = {"checkpoint_id": at_step(1).pk, "mode": "replay", "exclusion": None}
    learning_switch.ask_for_revert(**ask, is_preview=False)
    with pytest.raises(Conflict, match="under way"):
        learning_switch.ask_for_revert(**ask, is_preview=False)
    learning_switch.ask_for_revert(**ask, is_preview=True)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"checkpoint_id": 0}, NotFound),
        ({"mode": "undo"}, Invalid),
        ({"mode": "exclude"}, Invalid),
    ],
)
def test_a_revert_that_cannot_be_is_refused(wrong, error):
    learned(ONE)
    ask = {"checkpoint_id": at_step(1).pk, "mode": "replay", "exclusion": None, "is_preview": False} | wrong
    with pytest.raises(error):
        learning_switch.ask_for_revert(**ask)


def test_a_revert_that_breaks_before_the_switch_changes_nothing(monkeypatch):
    learned(ONE, TWO)
    before, row = digest(), Learner.objects.values().get()
    asked = learning_switch.ask_for_revert(checkpoint_id=at_step(1).pk, mode="drop", exclusion=None, is_preview=False)
    with monkeypatch.context() as broken:
        broken.setattr(job_progress, "finish", die)
        with pytest.raises(Killed), transaction.atomic():
            reverts.run_next()
    assert Learner.objects.values().get() == row
    assert digest() == before
    assert reverts.run_next()  # the next worker begins again
    asked.refresh_from_db()
    assert asked.state == Revert.State.DONE


def test_events_that_came_during_a_revert_are_in_it(monkeypatch):
    learned(ONE, TWO)
    keep = reverts.ShardRevert.keep

    def keep_and_learn(way):
        keep(way)
        learned(THREE)

    monkeypatch.setattr(reverts.ShardRevert, "keep", keep_and_learn)
    revert(at_step(1), "exclude", exclusion=learning_switch.exclusion(windows=[("mal's", 0, 2**50)]))
    assert Learner.objects.get().step == 3
    assert digest() == fold(ONE, TWO, THREE, without=set(TWO.actor))


def test_a_learner_with_the_old_history_cannot_go_on():
    learned(ONE, TWO)
    row, stale = Learner.objects.get(), warm_pipeline.restore(Learner.objects.get())
    revert(at_step(1), "drop")
    event_log.append(THREE)
    with pytest.raises(warm_pipeline.LearnerMoved):
        learner.take_step(stale, row, learner.read_next(stale, 100))


def test_a_reviewers_word_takes_effect_in_the_next_step_and_in_every_fold_after():
    learned(ONE, TWO)
    events = event_log.read_step(Step.objects.get(number=2))
    positions = [Position(int(xid), int(seq)) for xid, seq in zip(events.xid, events.seq, strict=True)]
    assert learning_switch.confirm(positions=positions, since_ms=int(events.received_ms[0])) == 20
    learner.learn(0)
    assert "mal's" not in warm().board(10).items
    assert EventVerdict.objects.filter(verdict=Verdict.QUARANTINE).count() == 20
    assert Decision.objects.get().taken_in == 3
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == warm().digest()
    restart()
    learner.learn(0)
    assert "mal's" not in warm().board(10).items
    learning_switch.release(positions=positions, since_ms=int(events.received_ms[0]))
    learner.learn(0)
    assert "mal's" in warm().board(10).items
    assert not EventVerdict.objects.exclude(verdict=Verdict.ADMIT).exists()
    found = verdict_writer.ordinals_at(shard=0, positions=positions)
    assert [ordinal for _, ordinal, _ in found] == list(range(20, 40))


def test_a_decision_on_events_that_are_gone_is_refused():
    with pytest.raises(NotFound):
        learning_switch.release(positions=[Position(1, 2**40)], since_ms=0)


def test_pieces_deleted_before_the_switch_are_stored_again(monkeypatch):
    learned(ONE, TWO, THREE)
    keep, gone = reverts.ShardRevert.keep, []

    def keep_and_lose(way):
        keep(way)
        if not gone:
            gone.append(Piece.objects.filter(hash__in=way.kept.columns["pieces"]).delete())

    monkeypatch.setattr(reverts.ShardRevert, "keep", keep_and_lose)
    revert(at_step(1), "exclude", exclusion=learning_switch.exclusion(windows=[("mal's", 0, 2**50)]))
    assert gone
    assert digest() == fold(ONE, TWO, THREE, without=set(TWO.actor))


def test_no_piece_is_sent_while_a_learner_is_locked(monkeypatch):
    """An object store may take seconds, and the log's readers would wait for them."""
    keep, kept_in = state_writer.keep, []

    def noted(*args, **more):
        kept_in.append(connection.in_atomic_block)
        return keep(*args, **more)

    monkeypatch.setattr(state_writer, "keep", noted)
    settings.CHECKPOINT_EVERY_S = 1e9
    learned(ONE, TWO)
    keep_late, late = reverts.ShardRevert.keep, []

    def keep_and_learn(way):
        keep_late(way)
        if not late:
            late.append(learned(THREE))

    monkeypatch.setattr(reverts.ShardRevert, "keep", keep_and_learn)
    revert(at_step(1), "replay")
    assert late
    assert len(kept_in) >= 2  # of the new learner, and of the revert
    assert not any(kept_in)


def test_a_start_that_does_not_fit_gives_way_to_an_older_one(monkeypatch):
    learned(ONE, TWO, THREE)
    left, load = at_step(3), shard_revert.load_pipeline
    revert(at_step(2), "drop")

    def load_unfit(row):
        if row.step == 2:
            raise StateUnfit("a part of it does not fit")
        return load(row)

    wanted = load(left).digest()
    monkeypatch.setattr(shard_revert, "load_pipeline", load_unfit)
    revert(left, "drop")
    assert digest() == wanted == fold(ONE, TWO, THREE)
    assert Step.objects.get(number=3).first_ordinal == 40
