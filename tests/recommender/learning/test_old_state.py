"""Learners go on from the database of commit b6685f3, after the migrations.

Its histories still fold to the recorded states. The rows, the states and the digests are recorded
(tests/fixtures/state_b6685f3). None of them is made here. The digests are those of fold version 1, so a later version
is compared by contents. test_released_states.py has what is the same for every release.
"""

import time
from collections import Counter

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from recommender import ids
from recommender.control import erasures, learning_switch, reverts
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Ruling, Verdict
from recommender.learning import fresh_fold, learner, pipeline_settings, warm_pipeline
from recommender.learning.refold import refold
from recommender.log import event_log
from recommender.log.partitions import ensure_partitions
from recommender.models import Checkpoint, Decision, Erasure, Event, EventVerdict, Exclusion, Learner, Revert, Step
from tests.fixtures import state_b6685f3 as old
from tests.help.forest_fits import fitted_once
from tests.help.learner_process import warm
from tests.help.log_rows import clicks
from tests.help.released.pipeline_contents import contents
from tests.help.released.released_database import upgraded_database
from tests.help.released.released_state import ReleasedState

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "fresh_process", "old_rows"),
]

STATES = old.stored_states()
HISTORIES = old.histories()
SAID = old.manifest()["database"]
of_every_history = pytest.mark.parametrize("history", HISTORIES, ids=["final", "dropped", "before-the-exclusion"])


@pytest.fixture(scope="module", autouse=True)
def _no_forest_is_fitted_twice():
    with fitted_once():
        yield


@pytest.fixture
def old_rows(settings, transactional_db):
    """Use the old rows in the present tables, with the settings of then."""
    settings.SECRET_KEY = old.secret_key()
    settings.STEP_EVENTS = SAID["ahead"]["step_events"]
    with upgraded_database(ReleasedState(old.HERE)):
        ensure_partitions()
        yield


def on_the_way(history):
    """Return the recorded states of a history, by step."""
    return {each.after: each for each in STATES if history.digests.get(each.after) == each.digest}


def met(history, pipeline, after):
    """Fold later steps, and return the contents where a state was recorded."""
    found, wanted = {}, on_the_way(history)

    def note(folded):
        if folded.step.number in wanted:
            found[folded.step.number] = contents(pipeline)

    refold(pipeline, 0, history.recipe, after, max(history.digests), note)
    return found


def recorded(history, after):
    """Return the contents of the recorded states of a history after a step."""
    later = {step: state for step, state in on_the_way(history).items() if step > after}
    return {step: contents(Pipeline.from_bytes(state.data())) for step, state in later.items()}


def test_every_row_is_there_as_it_was_written():
    for table in SAID["tables"]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone()[0] == sum(1 for _ in old.rows_of(table)), table
    first = next(old.rows_of("recommender_event"))
    assert Event.objects.order_by("seq").first().actor == first["actor"]
    assert Learner.objects.get().recipe == SAID["learner"]["recipe"]


def test_what_was_recorded_has_something_of_everything_in_it():
    assert {Ruling(ruling) for ruling in Decision.objects.values_list("ruling", flat=True)} == set(Ruling)
    assert Decision.objects.filter(taken_in=None).count() == 1
    modes = Counter(Revert.objects.values_list("mode", "is_preview"))
    assert modes == {("exclude", True): 1, ("exclude", False): 1, ("drop", False): 1}
    assert Erasure.objects.get().outcome["is_exact"]
    assert Exclusion.objects.count() == 2
    assert Step.objects.filter(first_ordinal=None).exists()
    assert Step.objects.exclude(excluded=None).exists()
    assert EventVerdict.objects.filter(was_held=True, verdict=Verdict.ADMIT).count() > 10
    assert EventVerdict.objects.filter(verdict=Verdict.QUARANTINE).count() > 10
    assert Learner.objects.get().step > Learner.objects.get().checkpoint.step


def test_every_stored_state_is_read():
    for state in STATES:
        row = Checkpoint.objects.get(pk=int(state.name.rpartition("-")[2]))
        assert (row.digest, row.step) == (state.digest, state.after)
        pipeline = Pipeline.from_bytes(bytes(row.data))
        assert (pipeline.stream_ms, pipeline.n_events) == (state.stream_ms, state.n_events)
        assert pipeline.config.secret == ids.secret()


@of_every_history
def test_a_history_folded_from_nothing_meets_every_state(history):
    config = Pipeline.from_bytes(STATES[-1].data()).config
    assert len(on_the_way(history)) > 5
    assert met(history, Pipeline(config), 0) == recorded(history, 0)


@of_every_history
def test_a_history_folded_from_each_state_on_its_way_meets_the_later_ones(history):
    for step, state in on_the_way(history).items():
        assert met(history, Pipeline.from_bytes(state.data()), step) == recorded(history, step)


def test_the_learner_learns_what_waited_in_the_steps_of_then():
    assert learner.learn(0, for_s=600) > 0
    assert Decision.objects.latest("id").taken_in == min(old.ahead())
    assert Learner.objects.get().step == max(old.ahead())
    checkpoint = Learner.objects.get().checkpoint
    assert fresh_fold.verify(checkpoint) == checkpoint.digest == warm().digest()


def test_with_every_state_damaged_the_log_is_folded_from_nothing_to_the_same_contents(monkeypatch, caplog):
    config = Pipeline.from_bytes(STATES[-1].data()).config
    row = Learner.objects.get()
    expected = contents(warm_pipeline.restore(row).pipeline)
    monkeypatch.setattr(pipeline_settings, "configured", lambda: config)
    for checkpoint in Checkpoint.objects.all():
        data = bytearray(checkpoint.data)
        data[len(data) // 2] ^= 1
        with pytest.raises(CheckpointCorrupt):
            Pipeline.from_bytes(bytes(data))
        Checkpoint.objects.filter(pk=checkpoint.pk).update(data=bytes(data))
    assert contents(warm_pipeline.restore(Learner.objects.get()).pipeline) == expected
    assert "no sound checkpoint" in caplog.text


def test_a_digest_that_differs_is_told():
    learner.learn(0, for_s=600)
    newest = Checkpoint.objects.latest("id")
    Checkpoint.objects.filter(pk=newest.pk).update(digest="0" * 64)
    with pytest.raises(CommandError, match="the log folds to"):
        call_command("checkpoint", "verify", newest.pk)


def test_the_learner_goes_back_to_an_old_state_without_what_is_excluded():
    before = Checkpoint.objects.get(step=61)
    asked = learning_switch.ask_for_revert(
        checkpoint_id=before.pk,
        mode="exclude",
        exclusion=learning_switch.exclusion(actors=["reader-1", "reader-2"]),
        is_preview=False,
    )
    assert reverts.run_next()
    asked.refresh_from_db()
    assert (asked.state, asked.outcome["excluded"] > 0) == (Revert.State.DONE, True), asked.error
    learner.learn(0, for_s=600)
    checkpoint = Learner.objects.get().checkpoint
    assert fresh_fold.verify(checkpoint) == checkpoint.digest == warm().digest()


def test_an_actor_of_then_is_erased_from_the_log_and_every_state():
    assert erasures.traces_of("reader-1")["events"] > 0
    erasures.ask_for(actor_id="reader-1")
    assert erasures.run_next()
    assert not any(erasures.traces_of("reader-1").values())
    row = Learner.objects.get()
    assert Erasure.objects.latest("id").outcome["is_exact"]
    assert fresh_fold.verify(row.checkpoint) == row.checkpoint.digest


def test_an_event_id_of_then_is_known():
    keys = [bytes.fromhex(row["key"][2:]) for row in old.rows_of("recommender_event_key")][:5]
    again = clicks(5)
    again.key = keys
    assert event_log.append(again) == 0


def test_times_of_the_stream_are_long_past():
    """Check that events added now are newer than the recorded ones."""
    assert Learner.objects.get().stream_ms < 1000 * time.time() - 86_400_000
