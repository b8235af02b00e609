"""A fold writes the verdicts that the live steps wrote, row for row."""

from dataclasses import replace

import numpy as np
import pytest
from django.db import transaction

from recommender import ids
from recommender.control import learning_switch, reverts
from recommender.core.vocabulary import Verdict
from recommender.learning import (
    active_checkpoint,
    fold_verdicts,
    learner,
    pipeline_settings,
    verdict_copy,
    verdict_writer,
    warm_pipeline,
)
from recommender.learning.verdict_copy import N_FORESTS, NEVER
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Decision, EventVerdict, Revert
from tests.help import attacked_site
from tests.help.learner_process import restart
from tests.help.streams import SCREENED, pushes

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

OF_ITSELF = ("id", "created_at")
N_ROWS = 300


@pytest.fixture
def _attacked_town(view_store, empty_log, fresh_process, monkeypatch):
    """Let the learner fold a town under attack while reviewers decide.

    A step has 40 events.
    """
    monkeypatch.setattr(pipeline_settings, "configured", lambda: replace(SCREENED, secret=ids.secret()))
    attacked_site.write(pushes(n_events=6000, n_actors=150))
    row = learner.get_learner(0)
    warm = warm_pipeline.restore(row)
    while len(events := learner.read_next(warm, 40)):
        row = learner.take_step(warm, row, events, _decided(warm.step))
    active_checkpoint.write(warm, row)
    restart()


def _decided(step):
    """Rule on one held event and on one that is quarantined, every twelfth step."""
    if step % 12:
        return []
    made = []
    for verdict, decide in ((Verdict.HOLD, learning_switch.release), (Verdict.QUARANTINE, learning_switch.confirm)):
        row = EventVerdict.objects.filter(verdict=verdict).order_by("-ordinal").first()
        if row:
            decide(positions=[Position(row.xid, row.seq)], since_ms=0)
            made.append(Decision.objects.latest("id"))
    return made


def _rows():
    rows = EventVerdict.objects.order_by("ordinal").values()
    return [{name: value for name, value in row.items() if name not in OF_ITSELF} for row in rows]


def _replay():
    asked = learning_switch.ask_for_revert(
        checkpoint_id=Checkpoint.objects.get(step=0).pk, mode="replay", exclusion=None, is_preview=False
    )
    assert reverts.run_next()
    asked.refresh_from_db()
    assert asked.state == Revert.State.DONE, asked.error


@pytest.mark.usefixtures("_attacked_town")
@pytest.mark.parametrize("window", [2**20, 64])
def test_a_replay_writes_the_rows_that_the_steps_wrote(window, monkeypatch):
    monkeypatch.setattr(fold_verdicts, "WINDOW", window)
    monkeypatch.setattr(fold_verdicts, "MANY_PARTS", 5)
    before, said_before = _rows(), list(Decision.objects.order_by("id").values_list("before", flat=True))
    _replay()
    assert _rows() == before
    assert list(Decision.objects.order_by("id").values_list("before", flat=True)) == said_before
    kinds = {(row["verdict"], row["was_held"], row["evidence"] is None) for row in before}
    assert {
        (Verdict.ADMIT, True, False),  # held and released
        (Verdict.QUARANTINE, True, False),  # held and condemned
        (Verdict.QUARANTINE, False, False),  # quarantined at once
        (Verdict.QUARANTINE, False, True),  # admitted and removed later
    } <= kinds
    assert len(said_before) > 3


def test_a_copied_row_holds_what_was_put_in(monkeypatch):
    monkeypatch.setattr(verdict_copy, "CHUNK", 7)
    rng = np.random.default_rng(1)
    rows = verdict_copy.unrevised(N_ROWS)
    rows.ordinal = np.arange(N_ROWS) + 2**40
    rows.step[:], rows.xid[:], rows.seq = 7, 2**50, np.arange(N_ROWS) + 2**33
    rows.verdict = rng.integers(0, 3, N_ROWS).astype(np.int8)
    rows.was_held = rng.random(N_ROWS) < 0.5
    rows.score, rows.alpha = rng.random(N_ROWS), rng.random(N_ROWS)
    rows.reasons = rng.integers(0, 2**31, N_ROWS).astype(np.int32)
    rows.revised_in = np.where(rng.random(N_ROWS) < 0.5, NEVER, 2**40)
    rows.has_evidence = rng.random(N_ROWS) < 0.5
    rows.percentiles = rng.integers(0, 256, rows.percentiles.shape).astype(np.uint8)
    rows.p_values = np.where(rng.random((N_ROWS, N_FORESTS)) < 0.5, np.nan, rng.random((N_ROWS, N_FORESTS)))
    with transaction.atomic():
        verdict_copy.copy_rows(shard=3, rows=rows)
    stored = list(EventVerdict.objects.order_by("ordinal"))
    assert len(stored) == N_ROWS
    for n, row in enumerate(stored):
        assert (row.shard, row.ordinal, row.step, row.xid) == (3, rows.ordinal[n], 7, 2**50)
        assert (row.seq, row.verdict, row.was_held) == (rows.seq[n], rows.verdict[n], rows.was_held[n])
        assert (row.score, row.reasons) == (rows.score[n], rows.reasons[n])
        assert row.revised_in == (None if rows.revised_in[n] == NEVER else 2**40)
        known = [None if np.isnan(value) else value for value in rows.p_values[n].tolist()]
        assert row.p_values == (known if any(value is not None for value in known) else None)
        if rows.has_evidence[n]:
            assert (bytes(row.evidence), row.alpha) == (rows.percentiles[n].tobytes(), rows.alpha[n])
            assert set(verdict_writer.percentiles(row).values()) <= {None, *rows.percentiles[n].tolist()}
        else:
            assert row.evidence is row.alpha is None
