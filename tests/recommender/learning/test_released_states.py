"""Every released version's states and rows are read and learned on from.

The folders tests/fixtures/state_VERSION hold them. `make release` adds one. Nothing here is about a certain version.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from recommender import history, ids
from recommender.control import erasures, learning_switch, reverts
from recommender.core.pipeline import Config, Pipeline
from recommender.core.state_versions import FOLD_VERSION
from recommender.learning import fresh_fold, learner, warm_pipeline
from recommender.learning.checkpoints import thinning
from recommender.learning.checkpoints.retention_tiers import Tier
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.learning.refold import LogIncomplete, refold
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.log.partitions import ensure_partitions
from recommender.models import Checkpoint, Decision, Erasure, EventVerdict, Learner, Revert, Step, Upgrade
from tests.help.forest_fits import fitted_once
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.released.pipeline_contents import contents
from tests.help.released.released_database import upgraded_database
from tests.help.released.released_state import released_states

RELEASED = released_states()
CORE_RUNS = [(each, run) for each in RELEASED for run in each.runs()]
of_every_release = pytest.mark.parametrize("released", RELEASED, ids=str)
of_every_run = pytest.mark.parametrize(
    ("released", "run"), CORE_RUNS, ids=[f"{each}-{run['name']}" for each, run in CORE_RUNS]
)
of_a_database = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "fresh_process", "rows"),
]


@pytest.fixture(scope="module", autouse=True)
def _no_forest_is_fitted_twice():
    with fitted_once():
        yield


@pytest.fixture
def rows(released, settings, transactional_db):
    """Use the database that a released version left behind, after the migrations."""
    settings.SECRET_KEY = released.secret_key
    settings.STEP_EVENTS = 100
    with upgraded_database(released):
        ensure_partitions()
        yield


@pytest.fixture
def beyond_retention(rows):
    """Remove the log and the steps up to the active checkpoint, as retention does."""
    active = Learner.objects.get().checkpoint
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM recommender_event WHERE (xid, seq) <= (%s::text::xid8, %s)", [active.xid, active.seq]
        )
    Step.objects.filter(number__lte=active.step).delete()
    Checkpoint.objects.exclude(pk=active.pk).delete()
    assert Step.objects.exists()
    return active


def databases(*usefixtures):
    """Mark a test that runs on the database of every release."""

    def mark(test):
        for each in (*of_a_database, pytest.mark.usefixtures(*usefixtures or ("rows",)), of_every_release):
            test = each(test)
        return test

    return mark


def n_in_log():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recommender_event")
        return cursor.fetchone()[0]


def n_learned():
    """Return the number of events in recorded steps, none of which may overlap."""
    steps = list(Step.objects.order_by("number"))
    for one, other in pairwise(steps):
        assert (one.to_xid, one.to_seq) <= (other.from_xid, other.from_seq)
    return sum(each.n_events for each in steps)


# -- the core --------------------------------------------------------------------------------------------------------


@of_every_run
def test_every_state_of_a_run_learns_on_to_the_next(released, run):
    """Compare digests for states of the present version, contents for older ones."""
    operations = released.operations()
    for state, following in pairwise(run["states"]):
        pipeline = Pipeline.from_bytes(released.state(state["name"]))
        assert pipeline.config == Config.from_state(run["config"])
        for operation in operations[state["after"] : following["after"]]:
            released.apply(operation, pipeline)
        if released.fold_version == FOLD_VERSION:
            assert pipeline.digest() == following["digest"]
        assert contents(pipeline) == contents(Pipeline.from_bytes(released.state(following["name"])))


# -- the database ----------------------------------------------------------------------------------------------------


@databases()
def test_every_row_is_there_after_the_migrations(released):
    for table in released.manifest["database"]["tables"]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone()[0] == sum(1 for _ in released.rows_of(table)), table
    for model in (Learner, Checkpoint, Step):
        assert set(model.objects.values_list("fold_version", flat=True)) == {released.fold_version}


@databases()
def test_every_checkpoint_is_read(released):
    assert Checkpoint.objects.count() > 5
    for row in Checkpoint.objects.all():
        pipeline = load_pipeline(row)
        assert (pipeline.n_events, pipeline.stream_ms) == (row.n_events, row.stream_ms)
        assert pipeline.config.secret == ids.secret()


@databases("beyond_retention")
def test_the_learner_goes_on_beyond_retention_and_loses_no_event(released):
    assert learner.learn(0, for_s=600) > 0
    assert n_learned() == n_in_log()
    assert Decision.objects.filter(taken_in=None).count() == 0
    row = Learner.objects.get()
    assert (row.fold_version, row.seq) == (FOLD_VERSION, event_log.last_seq())
    assert set(Step.objects.values_list("fold_version", flat=True)) == {FOLD_VERSION}
    event_log.append(clicks(30, item="news-of-today"))
    assert learner.learn(0) == 30
    assert "news-of-today" in warm().board(20).items
    digest = warm().digest()
    restart()
    assert learner.learn(0) == 0
    assert warm().digest() == digest


@databases("beyond_retention")
def test_an_upgrade_is_an_entry_with_a_checkpoint_on_both_sides(released, caplog, request):
    before = request.getfixturevalue("beyond_retention")
    step = Learner.objects.get().step
    learner.learn(0, for_s=600)
    if released.fold_version == FOLD_VERSION:
        assert not Upgrade.objects.exists()
        return
    made = Upgrade.objects.get()
    after = Checkpoint.objects.get(pk=made.after)
    assert (made.step, made.from_version, made.to_version) == (step, released.fold_version, FOLD_VERSION)
    assert (made.before, made.before_step, made.before_digest) == (before.pk, before.step, before.digest)
    assert (after.step, after.fold_version, after.digest) == (step, FOLD_VERSION, made.after_digest)
    n_again = step - before.step
    assert n_again > 0
    assert f"step{'s' * (n_again > 1)} since checkpoint {before.pk} again" in caplog.text
    assert history.segments(after.recipe, before.step, step)[0].fold_version == FOLD_VERSION
    assert Checkpoint.objects.get(pk=before.pk).recipe == before.recipe


@databases("beyond_retention")
def test_both_checkpoints_of_an_upgrade_stay_until_retention_has_passed(released, settings):
    learner.learn(0, for_s=600)
    settings.CHECKPOINT_SCHEDULE = (Tier(1, 1),)
    Checkpoint.objects.update(is_pinned=False)
    pair = set(Upgrade.objects.values_list("before", flat=True)) | set(
        Upgrade.objects.values_list("after", flat=True)
    )
    later = datetime.now(UTC).timestamp() + 3600
    thinning.thin_checkpoints(0, now_s=later)
    active = {Learner.objects.get().checkpoint_id}
    assert set(Checkpoint.objects.values_list("pk", flat=True)) == pair | active
    Upgrade.objects.update(created_at=datetime.now(UTC) - timedelta(days=settings.RETENTION_DAYS, hours=1))
    thinning.thin_checkpoints(0, now_s=later)
    assert set(Checkpoint.objects.values_list("pk", flat=True)) == active


@databases("beyond_retention")
def test_digests_are_verified_from_the_upgrade_on(released, capsys, request):
    before = request.getfixturevalue("beyond_retention")
    learner.learn(0, for_s=600)
    event_log.append(clicks(40))
    learner.learn(0)
    call_command("checkpoint", "verify", *([] if Upgrade.objects.exists() else ["--from", str(before.pk)]))
    assert "the log folds to the same digest" in capsys.readouterr().out
    active = Learner.objects.get().checkpoint
    for made in Upgrade.objects.all():
        assert fresh_fold.verify(active, Checkpoint.objects.get(pk=made.after)) == active.digest
        assert fresh_fold.verify(Checkpoint.objects.get(pk=made.after)) == made.after_digest
        with pytest.raises(CommandError, match="Digests are promised within one version: verify it with"):
            call_command("checkpoint", "verify", made.before)


@databases()
def test_verifying_across_an_upgrade_says_why_it_cannot_compare(released):
    if released.fold_version == FOLD_VERSION:
        return
    first = Checkpoint.objects.order_by("step").first()
    learner.learn(0, for_s=600)
    active = Learner.objects.get().checkpoint
    with pytest.raises(ValueError, match=r"choose a start at step \d+ or later"):
        fresh_fold.verify(active, first)
    Checkpoint.objects.exclude(pk=active.pk).delete()
    with pytest.raises(ValueError, match="has nothing to be compared with"):
        fresh_fold.verify(active)


@databases()
def test_a_frozen_learner_is_upgraded_without_a_step(released):
    learning_switch.freeze()
    step = Learner.objects.get().step
    assert learner.learn(0, for_s=600) == 0
    row = Learner.objects.get()
    assert (row.step, row.fold_version, row.state) == (step, FOLD_VERSION, Learner.State.FROZEN)
    learning_switch.thaw()
    assert learner.learn(0, for_s=600) > 0
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == warm().digest()


@databases()
def test_verdicts_and_steps_are_those_of_the_present_version(released):
    """Compare the rows after an upgrade with a fold from the checkpoint before it."""
    learner.learn(0, for_s=600)
    row = Learner.objects.get()
    told, judged = {}, {}

    def note(folded):
        told[folded.step.number] = folded.result.n_admitted
        for place in folded.result.verdicts.verdict.nonzero()[0].tolist():
            judged[folded.first_ordinal + place] = int(folded.result.verdicts.verdict[place])
        judged.update(
            zip(folded.result.revised.ordinal.tolist(), folded.result.revised.verdict.tolist(), strict=True)
        )

    made = Upgrade.objects.first()
    before = Checkpoint.objects.get(pk=made.before) if made else Checkpoint.objects.order_by("step").last()
    pipeline = load_pipeline(before)
    refold(pipeline, 0, row.recipe, before.step, row.step, note)
    steps = Step.objects.filter(number__gt=before.step, first_ordinal__isnull=False)
    assert dict(steps.values_list("number", "n_admitted")) == told
    ruled = {seq for each in Decision.objects.filter(taken_in__gt=before.step) for seq in each.seq}
    rows = EventVerdict.objects.filter(step__gt=before.step).exclude(seq__in=ruled)
    assert {each.ordinal: each.verdict for each in rows}.items() <= judged.items()


@databases()
def test_a_revert_across_an_upgrade_says_that_this_version_learns_the_events_again(released):
    learner.learn(0, for_s=600)
    before = Checkpoint.objects.filter(fold_version=released.fold_version).order_by("step").first()
    for is_preview in (True, False):
        asked = learning_switch.ask_for_revert(
            checkpoint_id=before.pk, mode="replay", exclusion=None, is_preview=is_preview
        )
        assert reverts.run_next()
        asked.refresh_from_db()
        assert asked.state == Revert.State.DONE, asked.error
        if released.fold_version < FOLD_VERSION:
            told = asked.outcome["upgrade"]
            assert (told["from_version"], told["to_version"]) == (released.fold_version, FOLD_VERSION)
            assert "The present version learned the events since then again." in told["note"]
        else:
            assert "upgrade" not in asked.outcome
    learner.learn(0)
    checkpoint = Learner.objects.get().checkpoint
    assert fresh_fold.verify(checkpoint) == checkpoint.digest == warm().digest()


@databases()
def test_a_restore_from_before_an_upgrade_warns_and_is_an_entry_too(released, caplog):
    learner.learn(0, for_s=600)
    if released.fold_version == FOLD_VERSION:
        return
    upgraded, digest = Upgrade.objects.get(), warm().digest()
    for each in Checkpoint.objects.filter(fold_version=FOLD_VERSION):
        Checkpoint.objects.filter(pk=each.pk).update(digest=f"{each.pk:064}")  # no longer that of its header
    assert warm_pipeline.restore(Learner.objects.get()).pipeline.digest() == digest  # from the checkpoint before it
    assert "before its upgrade" not in caplog.text
    Checkpoint.objects.filter(fold_version=released.fold_version, step__gte=upgraded.before_step).delete()
    restart()
    assert learner.learn(0) == 0
    assert "before its upgrade to fold version" in caplog.text
    assert "this version learns the steps since again" in caplog.text
    row = Learner.objects.get()
    assert Upgrade.objects.first().pk > upgraded.pk
    assert row.checkpoint.digest == warm().digest() == fresh_fold.verify(row.checkpoint)


@databases()
def test_people_decide_revert_and_erase_after_an_upgrade(released):
    learner.learn(0, for_s=600)
    judged = EventVerdict.objects.filter(verdict=2)
    positions = [Position(*each) for each in judged.values_list("xid", "seq")]
    assert learning_switch.release(positions=positions, since_ms=1) == len(positions) > 10
    learner.learn(0)
    assert not EventVerdict.objects.filter(seq__in=[each.seq for each in positions]).exclude(verdict=0).exists()
    erasures.ask_for(actor_id="reader-1")
    assert erasures.run_next()
    assert Erasure.objects.latest("id").state == Erasure.State.DONE
    assert not any(erasures.traces_of("reader-1").values())
    row = Learner.objects.get()
    assert fresh_fold.verify(row.checkpoint) == row.checkpoint.digest
    event_log.append(clicks(10))
    assert learner.learn(0) == 10


@databases()
def test_jobs_upgrade_the_learners_first(released):
    asked = learning_switch.ask_for_revert(
        checkpoint_id=Learner.objects.get().checkpoint_id, mode="drop", exclusion=None, is_preview=False
    )
    assert reverts.run_next()
    asked.refresh_from_db()
    assert (asked.state, Learner.objects.get().fold_version) == (Revert.State.DONE, FOLD_VERSION)


@databases()
def test_pages_and_answers_show_what_an_earlier_version_stored(released, api):
    learner.learn(0, for_s=600)
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("olga"))
    assert Revert.objects.count() == 3
    for revert in Revert.objects.all():
        answer = client.get(reverse("console:revert", args=[revert.pk]))
        assert (answer.status_code, b"Events learned again" in answer.content) == (200, True)
        assert api.get(f"/api/v1/model/reverts/{revert.pk}", key="admin").json["outcome"] == revert.outcome
    for name in ("overview", "queue", "timeline", "ask-revert", "audit"):
        assert client.get(reverse(f"console:{name}")).status_code == 200
    for path in ("/api/v1/model", "/api/v1/model/checkpoints", "/api/v1/findings"):
        assert api.get(path, key="admin").status == 200
    assert api.get("/api/v1/trending?category=town", key="read").json["state"] == "frozen"  # a board of then


@databases("beyond_retention")
def test_without_a_readable_state_the_learner_says_that_the_log_is_incomplete(released):
    Checkpoint.objects.filter(header=None).update(data=b"damaged")  # a block of 0.1.0
    Checkpoint.objects.exclude(header=None).update(digest="damaged")
    with pytest.raises(LogIncomplete, match="are still recorded"):
        learner.learn(0)
    assert Learner.objects.get().fold_version == released.fold_version
