"""Tests of the stop switch under fire.

appending thread ──> log        learner process, killed and started again       reader thread: a board, every time
revert process ──SIGKILL at a chosen call──> what is stored ──> the next worker ──> the digest of a fold that
                                                                                     never had what is excluded

Any process may be killed at any moment. A learner's history is then either the old one or the new one, and complete.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from django.db import connection
from django.db.utils import Error as DatabaseError

from recommender.control import learning_switch, reverts
from recommender.core.pipeline import Pipeline
from recommender.core.state_versions import FOLD_VERSION
from recommender.learning import fresh_fold, learner, pipeline_settings, refold, warm_pipeline
from recommender.log import event_log
from recommender.models import Checkpoint, EventVerdict, Learner, Revert, Step
from recommender.models.learning import beginning
from recommender.publishing import published_boards
from tests.help.learner_process import restart
from tests.help.log_rows import actors_of, events
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.private_servers import PRIVATE
from tests.help.supervised import BASE_DIR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("view_store", "empty_log")]

CRAWLER = "Googlebot/2.1 (+http://www.google.com/bot.html)"
BEFORE, SINCE = 4, 12  # batches learned before the checkpoint, and after it
MAL = [f"mal-{number}" for number in range(30)]
REVERT_OF_A_SHARD = "recommender.control.shard_revert:ShardRevert"

_DJANGO = "import os, signal, sys, django; django.setup()\n"
LEARN = (
    _DJANGO
    + """
import time
from recommender import tasks
print("up", flush=True)
while True:
    tasks.learn(0)
    time.sleep(0.02)
"""
)
# Runs the revert. At the n-th call of a function, before or after it, the process dies as by kill -9, or it pauses.
REVERT = (
    _DJANGO
    + """
import importlib
from recommender.control import reverts
module, _, names = sys.argv[1].partition(":")
*path, name = names.split(".")
owner = importlib.import_module(module)
for each in path:
    owner = getattr(owner, each)
real, left = getattr(owner, name), int(sys.argv[3])

def hooked(*args, **more):
    global left
    left -= 1
    if sys.argv[2] == "after":
        result = real(*args, **more)
    if left == 0 and sys.argv[2] == "pause":
        print("here", flush=True)
        signal.pause()
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result if sys.argv[2] == "after" else real(*args, **more)

setattr(owner, name, hooked)
reverts.run_next()
"""
)


def batch(number):
    """Make clicks of readers, a crawler, and Mal's accounts, who push one item."""
    actors = [f"reader-{(17 * number + each) % 300}" for each in range(170)] + MAL
    items = [f"item-{(number + each) % 23}" for each in range(170)] + ["push"] * len(MAL)
    agents = [CRAWLER if each % 40 == 0 else "Mozilla/5.0" for each in range(200)]
    return events(actors, items, user_agent=agents)


class Stream(threading.Thread):
    """Appends batches until it is stopped, and tries a failed batch again."""

    def __init__(self, first):
        super().__init__()
        self._number, self._is_over = first, threading.Event()
        self.n_appended = 0

    def run(self):
        while not self._is_over.wait(0.1):
            try:
                event_log.append(batch(self._number))
            except DatabaseError:
                connection.close()
                continue
            self.n_appended += 200
            self._number += 1
        connection.close()

    def stop(self):
        self._is_over.set()
        self.join()


class Readers(threading.Thread):
    """Reads the list as a web process does, and counts lists that are not complete."""

    def __init__(self):
        super().__init__()
        self._is_over, self.n_read, self.n_bad = threading.Event(), 0, 0

    def run(self):
        store = published_boards.connect()
        while not self._is_over.wait(0.005):
            board = published_boards.ViewReader(store).board("")
            self.n_bad += board is None or not 0 < len(board.items) == len(board.counts)
            self.n_read += 1
        store.close()

    def stop(self):
        self._is_over.set()
        self.join()


def start(code, env, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=BASE_DIR,
        env=env | {"DJANGO_SETTINGS_MODULE": "config.settings", "CHECKPOINT_EVERY_S": "0.5"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def restarted(working, env):
    """Replace a learner with a new one after killing it."""
    working.kill()
    working.communicate()
    learning = start(LEARN, env)
    assert learning.stdout.readline() == b"up\n"
    return learning


def stored():
    """Return the rows in the database that a revert changes."""
    row = Learner.objects.values("recipe", "checkpoint_id", "n_reverts", "xid", "seq", "step").get()
    steps = list(Step.objects.order_by("number").values_list("number", "first_ordinal", "excluded", "n_admitted"))
    return row, steps, list(EventVerdict.objects.order_by("ordinal").values_list("ordinal", "seq", "verdict"))


def clean_fold(after_step):
    """Fold the same steps without Mal's acts after a step.

    Returns the digest, {step: number of its first event}, and {event: verdict} for the events that are not admitted.
    """
    pipeline, ordinals, verdicts = Pipeline(pipeline_settings.configured()), {}, {}
    for step in Step.objects.order_by("number"):
        part = event_log.read_step(step)
        is_kept = [step.number <= after_step or actor not in MAL for actor in actors_of(part)]
        rows = np.flatnonzero(is_kept)
        ordinals[step.number] = pipeline.n_events
        result = pipeline.step(refold.encode(pipeline, part).take(rows))
        for row in np.flatnonzero(result.verdicts.verdict).tolist():
            verdicts[ordinals[step.number] + row] = int(result.verdicts.verdict[row])
        verdicts.update(zip(result.revised.ordinal.tolist(), result.revised.verdict.tolist(), strict=True))
    return pipeline.digest(), ordinals, {ordinal: verdict for ordinal, verdict in verdicts.items() if verdict}


def assert_is_the_history_of(row, after_step):
    """Check that learner, steps and verdicts agree with a clean fold of the same log."""
    digest, ordinals, verdicts = clean_fold(after_step)
    assert warm_pipeline.restore(row).pipeline.digest() == digest
    assert dict(Step.objects.values_list("number", "first_ordinal")) == ordinals
    assert dict(EventVerdict.objects.exclude(verdict=0).values_list("ordinal", "verdict")) == verdicts
    assert fresh_fold.verify(row.checkpoint) == row.checkpoint.digest


@pytest.fixture
def town(settings, clock):
    """Learn some batches, and pin a checkpoint after the first of them."""
    settings.STEP_EVENTS, settings.PUBLISH_EVERY_S, settings.CHECKPOINT_EVERY_S = 400, 0.0, 0.0
    for number in range(BEFORE + SINCE):
        event_log.append(batch(number))
        learner.learn(0)
        Checkpoint.objects.filter(step=BEFORE).update(is_pinned=True)
    restart()
    return Checkpoint.objects.get(step=BEFORE)


def ask(checkpoint):
    return learning_switch.ask_for_revert(
        checkpoint_id=checkpoint.pk, mode="exclude", exclusion=learning_switch.exclusion(actors=MAL), is_preview=False
    )


def finish(asked):
    wait_for(reverts.run_next)  # the server releases a killed worker's lock within moments
    asked.refresh_from_db()
    assert asked.state == Revert.State.DONE, asked.error


@pytest.mark.parametrize(
    ("call", "when", "nth", "is_switched"),
    [
        (f"{REVERT_OF_A_SHARD}._note", "before", 5, False),  # while it folds
        (f"{REVERT_OF_A_SHARD}.keep", "after", 1, False),  # leaves pieces without a name
        ("recommender.learning.verdict_writer:forget_since", "after", 1, False),
        (f"{REVERT_OF_A_SHARD}.switch", "after", 1, False),  # all written, nothing committed
        ("recommender.control.job_progress:finish", "after", 1, False),  # the last statement before the commit
        ("recommender.control.reverts:_work_out", "after", 1, True),  # right after the commit
    ],
)
def test_a_killed_revert_has_changed_nothing_or_everything(town, server_env, call, when, nth, is_switched):
    before, asked = stored(), ask(town)
    killed = start(REVERT, server_env, call, when, str(nth))
    killed.communicate(timeout=PATIENCE_S)
    assert killed.returncode == -signal.SIGKILL
    row = Learner.objects.get()
    if is_switched:
        assert row.n_reverts == 1
        assert not reverts.run_next()  # it is done
    else:
        assert stored() == before
        finish(asked)
    row.refresh_from_db()
    assert (row.n_reverts, row.n_events) == (1, 200 * (BEFORE + SINCE))
    assert_is_the_history_of(row, BEFORE)


def test_a_server_that_crashes_in_the_middle_of_a_switch_has_the_old_history(town, server_env):
    if "DATABASE_URL" not in os.environ.get(PRIVATE, "").split():
        pytest.skip("DATABASE_URL names the server, and this test kills only a private one")
    before, asked = stored(), ask(town)
    paused = start(
        REVERT, server_env, "recommender.control.job_progress:finish", "pause", "1"
    )  # all written, nothing committed
    assert paused.stdout.readline() == b"here\n"
    query = "SELECT pid, pg_backend_pid() FROM pg_stat_activity WHERE state = 'idle in transaction'"
    pid, own = event_log.fetch(query, [])
    os.kill(pid, signal.SIGKILL)  # PostgreSQL ends all its sessions and recovers from its log
    wait_for(lambda: not Path(f"/proc/{own}").exists())  # until then it may still answer
    wait_for(_answers)
    paused.kill()
    paused.communicate()
    assert stored() == before
    finish(asked)
    assert_is_the_history_of(Learner.objects.get(), BEFORE)


def _answers():
    connection.close()
    try:
        return Learner.objects.exists()
    except DatabaseError:
        return False


def test_with_everybody_killed_while_events_stream_in_nothing_is_lost_and_readers_have_their_list(town, server_env):
    stream, readers = Stream(BEFORE + SINCE), Readers()
    working = start(LEARN, server_env)
    assert working.stdout.readline() == b"up\n"
    stream.start()
    readers.start()
    try:
        asked = ask(town)
        rng = np.random.default_rng(1)
        moments = [("_note", "before", rng.integers(1, SINCE)), ("keep", "after", 1), ("switch", "after", 1)]
        for call, when, nth in rng.permutation(moments):  # learner and revert in turns
            reverting = start(REVERT, server_env, f"{REVERT_OF_A_SHARD}.{call}", when, nth)
            reverting.communicate(timeout=PATIENCE_S)
            assert reverting.returncode == -signal.SIGKILL
            working = restarted(working, server_env)
            is_old = Learner.objects.get().n_reverts == 0
            assert is_old == (Learner.objects.get().recipe == beginning())
        learning_switch.freeze()
        working.kill()
        working.communicate()
        if Revert.objects.get().state != Revert.State.DONE:
            finish(asked)
        working = start(LEARN, server_env)
        assert working.stdout.readline() == b"up\n"
        assert Learner.objects.get().state == Learner.State.FROZEN
        learning_switch.thaw()
        working.kill()
        working.communicate()
        working = start(LEARN, server_env)
        stream.stop()
        n_events = 200 * (BEFORE + SINCE) + stream.n_appended
        wait_for(lambda: Learner.objects.get().n_events == n_events)
        wait_for(lambda: readers.n_read > 100)
    finally:
        stream.stop()
        readers.stop()
        working.kill()
        working.communicate()
    assert_switched_while_learning(n_events)
    assert readers.n_bad == 0


def assert_switched_while_learning(n_events):
    """Check that there was one revert, at any step.

    Every event must be learned once, except Mal's events between checkpoint and switch.
    """
    row = Learner.objects.get()
    assert (row.n_reverts, row.n_events) == (1, n_events)
    assert sum(Step.objects.values_list("n_events", flat=True)) == n_events
    switched_at = row.recipe[1][1]
    assert row.recipe == [
        [1, BEFORE, None, FOLD_VERSION],
        [BEFORE + 1, switched_at, row.recipe[1][2], FOLD_VERSION],
        [switched_at + 1, None, None, FOLD_VERSION],
    ]
    pipeline = Pipeline(pipeline_settings.configured())
    for step in Step.objects.order_by("number"):
        part = event_log.read_step(step)
        out = MAL if BEFORE < step.number <= switched_at else ()
        rows = np.flatnonzero([actor not in out for actor in actors_of(part)])
        assert step.first_ordinal == pipeline.n_events
        pipeline.step(refold.encode(pipeline, part).take(rows))
    assert warm_pipeline.restore(row).pipeline.digest() == pipeline.digest()
