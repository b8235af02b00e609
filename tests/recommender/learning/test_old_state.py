"""Learners go on from the database of commit b6685f3.

Its histories still fold to the recorded digests. The rows, the states and the digests are recorded
(tests/fixtures/state_b6685f3). None of them is made here.
"""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from recommender import ids
from recommender.control import erasures, learning_switch, reverts
from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Ruling, Verdict
from recommender.learning import learner
from recommender.learning.refold import refold
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.log.partitions import drop_before
from recommender.models import Checkpoint, Decision, Erasure, Event, EventVerdict, Exclusion, Learner, Revert, Step
from tests.fixtures import state_b6685f3 as old
from tests.help import version_0_1
from tests.help.forest_fits import fitted_once
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process", "old_rows"),
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
def old_rows(settings, empty_log):
    """Load the old rows, with the settings of the installation that wrote them."""
    settings.SECRET_KEY = old.secret_key()
    settings.STEP_EVENTS = SAID["ahead"]["step_events"]
    old.load_rows()
    with version_0_1.migrated():
        yield
    drop_before(datetime.now(UTC).date() - timedelta(days=1))


def digests_of(history, pipeline, after, to):
    """Return the digest after each step of a history after `after`, up to `to`.

    The Pipeline must be at `after`.
    """
    found = {}
    refold(
        pipeline,
        0,
        history.recipe,
        after,
        to,
        lambda folded: found.update({folded.step.number: pipeline.digest()}),
    )
    return found


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
        assert (pipeline.stream_ms, pipeline.n_events, pipeline.digest()) == (
            state.stream_ms,
            state.n_events,
            state.digest,
        )
        assert pipeline.config.secret == ids.secret()


@of_every_history
def test_a_history_folded_from_nothing_meets_every_digest(history):
    config = Pipeline.from_bytes(STATES[-1].data()).config
    assert digests_of(history, Pipeline(config), 0, max(history.digests)) == history.digests


@of_every_history
def test_a_history_folded_from_each_state_on_its_way_meets_the_digests_up_to_the_next(history):
    on_the_way = [each for each in STATES if history.digests.get(each.after) == each.digest]
    assert len(on_the_way) > 5
    ends = [*(each.after for each in on_the_way[1:]), max(history.digests)]
    for state, end in zip(on_the_way, ends, strict=True):
        expected = {step: digest for step, digest in history.digests.items() if state.after < step <= end}
        assert digests_of(history, Pipeline.from_bytes(state.data()), state.after, end) == expected


def test_the_log_folds_to_the_digest_of_every_checkpoint(capsys):
    for checkpoint in Checkpoint.objects.order_by("id"):
        call_command("checkpoint", "verify", checkpoint.pk)
    assert capsys.readouterr().out.count("the same digest") == len(STATES)


def test_the_learner_restores_and_takes_what_waited_to_the_digests_of_then():
    row = Learner.objects.get()
    assert learner.restore(row).pipeline.digest() == HISTORIES[0].digests[row.step]
    found, take = {}, learner.take_step

    def noted(warmed, *more):
        taken = take(warmed, *more)
        found[warmed.step] = warmed.pipeline.digest()
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "take_step", noted)
        assert learner.learn(0, for_s=600) > 0
    assert found == old.ahead()
    assert Decision.objects.latest("id").taken_in == min(found)
    checkpoint = Learner.objects.get().checkpoint
    assert learner.verify(checkpoint) == checkpoint.digest == warm().digest()


def test_the_learner_learns_what_is_new():
    learner.learn(0, for_s=600)
    event_log.append(clicks(30, item="news-of-today"))
    assert learner.learn(0) == 30
    assert "news-of-today" in warm().board(10).items
    digest = warm().digest()
    restart()
    assert learner.learn(0) == 0
    assert warm().digest() == digest
    assert learner.verify(Checkpoint.objects.latest("id")) == digest


def test_with_every_state_damaged_the_log_is_folded_from_nothing_to_the_same_digest(monkeypatch, caplog):
    config = Pipeline.from_bytes(STATES[-1].data()).config
    monkeypatch.setattr(learner, "configured", lambda: config)
    for checkpoint in Checkpoint.objects.all():
        data = bytearray(checkpoint.data)
        data[len(data) // 2] ^= 1
        with pytest.raises(CheckpointCorrupt):
            Pipeline.from_bytes(bytes(data))
        Checkpoint.objects.filter(pk=checkpoint.pk).update(data=bytes(data))
    row = Learner.objects.get()
    assert learner.restore(row).pipeline.digest() == HISTORIES[0].digests[row.step]
    assert "no sound checkpoint" in caplog.text


def test_a_digest_that_differs_is_told():
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
    assert learner.verify(checkpoint) == checkpoint.digest == warm().digest()


def test_a_reviewers_word_on_an_old_verdict_is_taken():
    learner.learn(0, for_s=600)
    rows = EventVerdict.objects.filter(verdict=Verdict.QUARANTINE)
    positions = [Position(*each) for each in rows.values_list("xid", "seq")]
    assert learning_switch.release(positions=positions, since_ms=1) == len(positions) > 10
    learner.learn(0)
    assert not EventVerdict.objects.filter(seq__in=[each.seq for each in positions]).exclude(verdict=0).exists()
    assert learner.verify(Checkpoint.objects.latest("id")) == warm().digest()


def test_an_actor_of_then_is_erased_from_the_log_and_every_state():
    assert erasures.traces_of("reader-1")["events"] > 0
    erasures.ask_for(actor_id="reader-1")
    assert erasures.run_next()
    assert not any(erasures.traces_of("reader-1").values())
    row = Learner.objects.get()
    assert Erasure.objects.latest("id").outcome["is_exact"]
    assert learner.verify(row.checkpoint) == row.checkpoint.digest


def test_an_event_id_of_then_is_known():
    keys = [bytes.fromhex(row["key"][2:]) for row in old.rows_of("recommender_event_key")][:5]
    again = clicks(5)
    again.key = keys
    assert event_log.append(again) == 0


def test_times_of_the_stream_are_long_past():
    """Check that events added now are newer than the recorded ones."""
    assert Learner.objects.get().stream_ms < 1000 * time.time() - 86_400_000
