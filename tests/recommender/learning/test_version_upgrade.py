"""A newer version takes a shard over, and an older one does nothing then."""

import json

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat

from recommender import tasks
from recommender.control import erasures, learning_switch, reverts
from recommender.core import state_versions
from recommender.core.state_versions import FOLD_VERSION
from recommender.learning import active_checkpoint, fresh_fold, learner, learner_state, warm_pipeline
from recommender.learning.checkpoints import state_writer
from recommender.log import event_log
from recommender.models import Checkpoint, Erasure, Learner, Revert, Step, Upgrade
from recommender.publishing.published_boards import HEAD
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
NEWER = FOLD_VERSION + 1

# The statements of commit b6685f3, which know no versions.
STEP_OF_THEN = """
INSERT INTO "recommender_step" ("shard", "number", "from_xid", "from_seq", "to_xid", "to_seq", "first_ordinal",
    "n_events", "excluded", "n_admitted", "n_held", "n_quarantined", "n_released", "n_retracted", "n_unjudged",
    "n_predicted", "n_hits", "reciprocal_ranks", "n_trusted", "n_trusted_hits", "n_canary", "n_canary_hits", "alarm",
    "changed_ms", "stream_ms", "duration_ms", "created_at")
VALUES (0, %s, 0, 0, 1, 1, 0, 1, NULL, 1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, NULL, 1, 1.0, now())
"""
MOVE_OF_THEN = """
UPDATE "recommender_learner" SET "step" = %s, "xid" = 1, "seq" = 1, "stream_ms" = 1, "n_events" = "n_events" + 1,
    "stepped_at" = statement_timestamp()
WHERE "n_reverts" = 0 AND "seq" = %s AND "shard" = 0 AND "state" = 'learning' AND "step" = %s
"""
LEARNER_OF_THEN = """
INSERT INTO "recommender_learner" ("shard", "state", "step", "xid", "seq", "n_events", "n_held", "n_quarantined",
    "n_released", "n_retracted", "n_unjudged", "stream_ms", "checkpoint_id", "recipe", "n_reverts", "frozen_at",
    "stepped_at")
VALUES (5, 'learning', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, '[[1, null, null]]', 0, NULL, NULL)
"""


@pytest.fixture
def learned():
    event_log.append(clicks(20))
    assert learner.learn(0) == 20
    return Learner.objects.get()


def hand_over(version, release="9.9.0"):
    """Let a newer version take the shard over, as far as its rows show."""
    row = Learner.objects.get()
    Learner.objects.update(fold_version=version)
    Upgrade.objects.create(
        shard=0,
        step=row.step,
        from_version=FOLD_VERSION,
        to_version=version,
        from_release=state_versions.release_of(FOLD_VERSION),
        to_release=release,
        before=row.checkpoint_id,
        before_step=row.step,
        after=row.checkpoint_id,
        after_digest=row.checkpoint.digest,
    )


def test_the_step_of_a_learner_that_knows_no_version_fails(learned):
    def step_of_then():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(MOVE_OF_THEN, [learned.step + 1, learned.seq, learned.step])
            assert cursor.rowcount == 1
            cursor.execute(STEP_OF_THEN, [learned.step + 1])

    with pytest.raises(IntegrityError, match="fold_version"):
        step_of_then()
    row = Learner.objects.get()
    assert (row.step, row.seq, row.n_events) == (learned.step, learned.seq, learned.n_events)


def test_a_learner_that_knows_no_version_makes_no_row(learned):
    with pytest.raises(IntegrityError, match="fold_version"), connection.cursor() as cursor:
        cursor.execute(LEARNER_OF_THEN)


@pytest.mark.parametrize("table", ["recommender_learner", "recommender_step", "recommender_checkpoint"])
def test_the_database_has_no_default_for_a_version(table):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_default, is_nullable FROM information_schema.columns"
            " WHERE table_name = %s AND column_name = 'fold_version'",
            [table],
        )
        assert cursor.fetchone() == (None, "NO")


def test_every_row_has_the_version_that_wrote_it(learned):
    for model in (Learner, Step, Checkpoint):
        assert set(model.objects.values_list("fold_version", flat=True)) == {FOLD_VERSION}
    assert learned.recipe == [[1, None, None, FOLD_VERSION]]


@pytest.mark.parametrize("is_warm", [True, False])
def test_an_older_version_does_nothing_for_a_shard_of_a_newer_one(is_warm, learned, view_store, caplog):
    hand_over(NEWER)
    event_log.append(clicks(5, start=100))
    head, n_checkpoints = view_store.get(HEAD), Checkpoint.objects.count()
    if not is_warm:
        restart()
    for _ in range(3):
        tasks.learn(0)
    assert learner.in_memory(0) is None
    assert view_store.get(HEAD) == head
    assert Checkpoint.objects.count() == n_checkpoints
    assert Learner.objects.get().step == learned.step
    told = [each.message for each in caplog.records if each.levelname in ("WARNING", "ERROR")]
    assert told == [
        f"shard 0 belongs to a newer version: its state was written by 9.9.0 (fold version {NEWER}); this is"
        f" {state_versions.RELEASES[FOLD_VERSION]} (fold version {FOLD_VERSION}): upgrade this node. This worker does"
        " nothing for the shard"
    ]


def test_it_goes_on_when_the_shard_is_its_own_again(learned, caplog):
    hand_over(NEWER)
    event_log.append(clicks(5, start=100))
    assert learner.learn(0) == 0
    Learner.objects.update(fold_version=FOLD_VERSION)
    assert learner.learn(0) == 5
    assert "shard 0 is of this version again" in caplog.text
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == warm().digest()


def test_a_step_that_is_under_way_is_lost_to_a_newer_version(learned, monkeypatch):
    event_log.append(clicks(5, start=100))
    encode = learner.encode

    def encode_late(*arguments):
        hand_over(NEWER)
        return encode(*arguments)

    monkeypatch.setattr(learner, "encode", encode_late)
    with pytest.raises(warm_pipeline.LearnerMoved):
        learner.learn(0)
    assert Learner.objects.get().step == learned.step
    assert learner.learn(0) == 0


def test_a_checkpoint_that_is_under_way_is_lost_to_a_newer_version(learned):
    warmed = learner.in_memory(0)
    hand_over(NEWER)
    with pytest.raises(warm_pipeline.LearnerMoved):
        active_checkpoint.write(warmed, learned)


def test_an_upgrade_that_another_process_was_first_with_is_lost(learned):
    Learner.objects.update(fold_version=1)
    stale = Learner.objects.get()
    Learner.objects.update(n_reverts=1)
    with pytest.raises(warm_pipeline.LearnerMoved, match="during its upgrade"):
        warm_pipeline.take_over(stale)
    assert not Upgrade.objects.exists()
    assert Learner.objects.get().fold_version == 1


def test_an_older_version_rebuilds_nothing_of_a_newer_one(learned):
    hand_over(NEWER)
    with pytest.raises(warm_pipeline.LearnerMoved, match="rebuild it with that version"):
        fresh_fold.rebuild(Learner.objects.get())


def test_a_rebuild_is_of_the_present_version(learned):
    Learner.objects.update(fold_version=1, recipe=[[1, None, None]])
    Checkpoint.objects.update(fold_version=1, digest=Concat(Value("old "), Cast("pk", CharField())))
    made = fresh_fold.rebuild(Learner.objects.get())
    row = Learner.objects.get()
    assert (row.fold_version, row.recipe) == (FOLD_VERSION, [[1, None, None, FOLD_VERSION]])
    assert fresh_fold.verify(made) == made.digest


def test_an_older_versions_jobs_wait_for_the_newer_one(learned, caplog):
    learning_switch.ask_for_revert(checkpoint_id=learned.checkpoint_id, mode="drop", exclusion=None, is_preview=False)
    erasures.ask_for(actor_id="actor-1")
    hand_over(NEWER)
    tasks.revert()
    tasks.erase()
    assert (Revert.objects.get().state, Erasure.objects.get().state) == ("queued", "queued")
    Learner.objects.update(fold_version=FOLD_VERSION)
    assert reverts.run_next()
    assert erasures.run_next()
    assert (Revert.objects.get().state, Erasure.objects.get().state) == ("done", "done")


def test_a_newer_state_is_not_replaced_by_an_older_one(learned, monkeypatch):
    """A node must not go back to an older state that it can read."""
    monkeypatch.setattr(state_versions, "FOLD_VERSION", NEWER)
    columns = state_writer.keep(warm())
    monkeypatch.undo()
    Checkpoint.objects.filter(pk=learned.checkpoint_id).update(**columns)
    restart()
    with pytest.raises(state_versions.StateNewer, match=f"fold version {NEWER}"):
        warm_pipeline.restore(Learner.objects.get())


def test_the_note_on_versions_says_what_to_do(learned, api, clock):
    assert learner_state.get_version_note() == ""
    (shard,) = api.get("/api/v1/model", key="admin").json["shards"]
    assert (shard["fold_version"], shard["version_note"]) == (FOLD_VERSION, "")
    hand_over(NEWER)
    (shard,) = api.get("/api/v1/model", key="admin").json["shards"]
    assert shard["fold_version"] == NEWER
    assert "a newer version learns" in shard["version_note"]
    assert "upgrade this node" in shard["version_note"]
    Learner.objects.update(fold_version=FOLD_VERSION - 1)
    assert "waits for a worker of" in learner_state.get_version_note()


def test_readiness_names_the_version_where_events_are_not_learned(learned, api, clock, monkeypatch):
    monkeypatch.setattr("recommender.api.health.STALE_S", -1.0)
    hand_over(NEWER)
    answer = api.get("/health/ready")
    assert answer.status == 503
    assert f"fold version {NEWER}" in json.dumps(answer.json)
