"""Log, verdicts and kept states are as if an erased actor had never been here."""

import random

import numpy as np
import pytest
from django.db import connection

from recommender import locks
from recommender.control import erasures, learning_switch, shard_erasure
from recommender.core import actor_traces
from recommender.core.pipeline import Pipeline
from recommender.errors import Invalid
from recommender.learning import (
    active_checkpoint,
    fresh_fold,
    learner,
    pipeline_settings,
    verdict_writer,
    warm_pipeline,
)
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.folded_rows import FoldedRows
from recommender.learning.refold import encode
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Decision, ErasedState, Erasure, EventVerdict, Exclusion, Learner, Step
from tests.help.killed_workers import Killed, die
from tests.help.learner_process import restart, warm
from tests.help.log_rows import actors_of, clicks, events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

MAL = "actor-7"  # one of the actors of the test clicks
ZERO = {"events": 0, "verdicts": 0, "decisions": 0, "exclusions": 0, "checkpoints": 0, "requests": 0}


def learned(*batches):
    for batch in batches:
        event_log.append(batch)
        learner.learn(0)


def erase(actor=MAL):
    asked, _ = erasures.ask_for(actor_id=actor)
    assert erasures.run_next()
    asked.refresh_from_db()
    assert asked.state == Erasure.State.DONE, asked.error
    learner.learn(0)
    return asked.outcome


def never_received(actor=MAL):
    """Return the digest of a pipeline that never received the actor.

    It takes the recorded steps from the log as it is now.
    """
    pipeline = Pipeline(pipeline_settings.configured())
    for step in Step.objects.order_by("number"):
        part = event_log.read_step(step)
        batch = encode(pipeline, part)
        pipeline.step(batch.take(np.flatnonzero([each != actor for each in actors_of(part)])))
    return pipeline.digest()


def mixed(seed, n=30):
    """Return clicks of twenty actors on five items, each with an event id."""
    chosen = random.Random(seed)
    return events(
        [f"actor-{chosen.randrange(20)}" for _ in range(n)],
        [f"item-{chosen.randrange(5)}" for _ in range(n)],
        key=[chosen.randbytes(16) for _ in range(n)],
    )


def n_keys():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recommender_event_key")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_state_is_that_of_a_run_which_never_received_the_actor(seed):
    """Check it with random actors, items and cuts into steps."""
    chosen = random.Random(seed)
    learned(*(mixed(chosen.random(), n=chosen.randrange(1, 60)) for _ in range(chosen.randrange(2, 7))))
    wanted = never_received()
    n_events = event_log.count_of(MAL)
    outcome = erase()
    assert outcome["is_exact"]
    assert outcome["events"] == n_events
    assert warm().digest() == wanted
    assert erasures.traces_of(MAL) == ZERO
    for checkpoint in Checkpoint.objects.order_by("step"):
        assert fresh_fold.verify(checkpoint) == checkpoint.digest
    restart()
    learner.learn(0)
    assert warm().digest() == wanted


def test_what_there_is_of_an_actor_is_told():
    learned(clicks(20), mixed(1))
    found = erasures.traces_of(MAL)
    assert found["events"] == event_log.count_of(MAL) > 0
    assert found["checkpoints"] > 0
    assert erasures.traces_of("nobody") == ZERO


def test_checkpoints_before_it_stay_and_those_since_keep_number_and_pin():
    learned(clicks(5), clicks(5, start=20), mixed(2), clicks(20), clicks(5, start=30))
    before = {each.step: each for each in Checkpoint.objects.all()}
    learning_switch.pin(checkpoint_id=before[4].pk, is_pinned=True)
    first = min(number for _, number in event_log.actor_steps(MAL, 0))
    erase()
    after = {each.step: each for each in Checkpoint.objects.filter(step__lte=5)}
    assert {step: each.pk for step, each in after.items()} == {step: each.pk for step, each in before.items()}
    assert after[4].is_pinned
    for step, each in after.items():
        assert (each.digest == before[step].digest) == (step < first)
        assert each.digest == load_pipeline(each).digest()
    assert Learner.objects.get().checkpoint_id == before[5].pk


def test_the_record_of_steps_says_what_the_log_now_holds():
    learned(clicks(20), events([MAL], ["only"]), clicks(20, start=20))
    erase()
    assert [step.n_events for step in Step.objects.order_by("number")] == [19, 0, 20]
    assert [step.first_ordinal for step in Step.objects.order_by("number")] == [0, 19, 19]
    positions = [Position(int(x), int(s)) for x, s in zip(*_columns(3), strict=True)]
    assert [ordinal for _, ordinal, _ in verdict_writer.ordinals_at(shard=0, positions=positions)] == [*range(19, 39)]
    assert [position for _, position in verdict_writer.positions_of(shard=0, ordinals=[19, 38])] == [
        positions[0],
        positions[-1],
    ]


def _columns(number):
    part = event_log.read_step(Step.objects.get(number=number))
    return part.xid, part.seq


def test_keys_verdicts_decisions_and_exclusions_go_too():
    batch = mixed(3, n=200)
    learned(batch)
    part = event_log.read_step(Step.objects.get())
    positions = [Position(int(xid), int(seq)) for xid, seq in zip(part.xid, part.seq, strict=True)]
    theirs = [position for position, actor in zip(positions, actors_of(part), strict=True) if actor == MAL]
    learning_switch.confirm(positions=positions[:50], since_ms=0)
    only, _ = theirs[0], learning_switch.confirm(positions=theirs, since_ms=0)
    learner.learn(0)
    Exclusion.objects.create(rule=learning_switch.exclusion(actors=[MAL, "actor-3"]).state())
    assert EventVerdict.objects.filter(seq=only.seq).exists()
    erase()
    assert n_keys() == 200 - len(theirs)
    assert not EventVerdict.objects.filter(seq__in=[each.seq for each in theirs]).exists()
    assert EventVerdict.objects.count() > 0
    assert Decision.objects.count() == 1
    assert Exclusion.objects.get().rule == learning_switch.exclusion(actors=["actor-3"]).state()
    assert erasures.traces_of(MAL) == ZERO
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == warm().digest()


def test_a_history_with_an_exclusion_stays_one():
    from tests.recommender.control.test_reverts import revert

    learned(clicks(20), mixed(4), mixed(5))
    revert(Checkpoint.objects.get(step=1), "exclude", exclusion=learning_switch.exclusion(actors=["actor-3"]))
    learned(mixed(6))
    erase()
    recipe = Learner.objects.get().recipe
    assert [segment[2] is None for segment in recipe] == [True, False, True]
    for checkpoint in Checkpoint.objects.all():
        assert fresh_fold.verify(checkpoint) == checkpoint.digest
    assert erasures.traces_of(MAL) == ZERO
    assert actor_traces.count(warm().state(), warm().encoder.key("actor-4")) > 0


def test_states_of_other_histories_that_knew_it_are_dropped():
    from tests.recommender.control.test_reverts import revert

    learned(clicks(5), clicks(20), clicks(5, start=30))
    dropped = Checkpoint.objects.get(step=3)
    revert(Checkpoint.objects.get(step=1), "drop")
    learned(clicks(5, start=40))
    erase()
    assert not Checkpoint.objects.filter(pk=dropped.pk).exists()
    assert Checkpoint.objects.filter(step=1).exists()
    assert erasures.traces_of(MAL) == ZERO
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == warm().digest()


def test_events_that_are_not_learned_yet_go_too_and_those_after_are_new():
    learned(clicks(20))
    learning_switch.freeze()
    event_log.append(clicks(20, item="other"))
    erase()
    learning_switch.thaw()
    assert learner.learn(0) == 19
    assert erasures.traces_of(MAL) == ZERO
    learned(clicks(20, item="third"))
    found = erasures.traces_of(MAL)
    assert found["events"] == 1
    assert fresh_fold.verify(Checkpoint.objects.latest("id")) == warm().digest()


def test_an_actor_the_log_never_had_changes_nothing():
    learned(clicks(20))
    before = warm().digest()
    assert erase("nobody")["events"] == 0
    assert warm().digest() == before


def test_events_that_came_meanwhile_are_kept(monkeypatch):
    learned(clicks(20), mixed(7))
    scrub = shard_erasure.ShardErasure.scrub_others

    def scrub_late(way):
        learned(mixed(8), clicks(10))
        return scrub(way)

    monkeypatch.setattr(shard_erasure.ShardErasure, "scrub_others", scrub_late)
    erase()
    assert Step.objects.count() == 4
    assert warm().digest() == never_received()
    assert erasures.traces_of(MAL) == ZERO


@pytest.mark.parametrize(
    ("owner", "stage"),
    [
        *((shard_erasure.ShardErasure, stage) for stage in ("_stage", "scrub_others", "_shrink_steps")),
        (FoldedRows, "write_verdicts"),
        (shard_erasure.ShardErasure, "_drop_checkpoints"),
    ],
)
def test_killed_at_any_stage_nothing_has_changed_and_the_next_worker_begins_again(monkeypatch, owner, stage):
    learned(clicks(20), mixed(9), mixed(10))
    before = warm().digest(), list(Step.objects.values()), list(Checkpoint.objects.values_list("pk", "digest"))
    n_events = event_log.count_of(MAL)
    erasures.ask_for(actor_id=MAL)
    with monkeypatch.context() as broken:
        broken.setattr(owner, stage, die)
        with pytest.raises(Killed):
            erasures.run_next()
    restart()
    learner.learn(0)
    after = warm().digest(), list(Step.objects.values()), list(Checkpoint.objects.values_list("pk", "digest"))
    assert after == before
    assert event_log.count_of(MAL) == n_events
    assert erasures.run_next()
    learner.learn(0)
    assert warm().digest() == never_received()
    assert erasures.traces_of(MAL) == ZERO
    assert not ErasedState.objects.exists()


def test_a_learner_with_the_old_state_cannot_go_on():
    learned(clicks(20))
    row, stale = Learner.objects.get(), warm_pipeline.restore(Learner.objects.get())
    erase()
    event_log.append(clicks(5, start=40))
    with pytest.raises(warm_pipeline.LearnerMoved):
        learner.take_step(stale, row, learner.read_next(stale, 100))
    with pytest.raises(warm_pipeline.LearnerMoved):
        active_checkpoint.write(stale, row)
    assert erasures.traces_of(MAL) == ZERO


def test_where_the_log_no_longer_reaches_back_it_is_scrubbed_and_says_so():
    learned(mixed(11), clicks(20), mixed(12), clicks(20, item="late"))
    Checkpoint.objects.filter(step__lt=2).delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM recommender_event WHERE seq <= %s", [Step.objects.get(number=1).to_seq])
    others = erasures.traces_of("actor-4")["checkpoints"]
    outcome = erase()
    assert not outcome["is_exact"]
    assert outcome["from_step"] == 2
    assert erasures.traces_of(MAL) == ZERO
    assert erasures.traces_of("actor-4")["checkpoints"] == others
    scrubbed, newest = Checkpoint.objects.get(step=2), Checkpoint.objects.get(step=4)
    assert fresh_fold.verify(newest, start=scrubbed) == newest.digest == warm().digest()


def test_nobody_is_named_afterwards():
    learned(clicks(20))
    asked, is_new = erasures.ask_for(actor_id=MAL)
    again, is_newer = erasures.ask_for(actor_id=MAL)
    assert (again.pk, is_new, is_newer) == (asked.pk, True, False)
    erasures.run_next()
    row = Erasure.objects.values().get()
    assert MAL not in str(row)
    assert row["actor_hash"] == again.actor_hash
    assert erasures.ask_for(actor_id=MAL)[1]


def test_no_erasure_beside_somebody_who_folds_the_log():
    learned(clicks(20))
    erasures.ask_for(actor_id=MAL)
    other, names = connection.copy(), [locks.LOCK_CLASS, locks.HISTORY]
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", names)
            assert not erasures.run_next()
            cursor.execute("SELECT pg_advisory_unlock_shared(%s, %s)", names)
    finally:
        other.close()
    assert erasures.run_next()


@pytest.mark.parametrize("wrong", ["", "x" * 257, "a\0b"])
def test_an_id_that_no_actor_has_is_refused(wrong):
    with pytest.raises(Invalid):
        erasures.ask_for(actor_id=wrong)
