"""The bench fills a real log, and every fold of it ends in the learner's state."""

import pytest

from recommender.control import reverts
from recommender.lab.bench import refold_log, refold_speed
from recommender.learning import fresh_fold
from recommender.models import Checkpoint, Decision, EventVerdict, Step

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]


def test_an_attacked_log_is_learned_in_steps_of_one_size_with_decisions():
    filled = refold_log.fill(n_events=3000, step_events=150, is_attacked=True, seed=1)
    steps = list(Step.objects.order_by("number").values_list("n_events", flat=True))
    assert steps == [150] * 20
    assert (filled.n_events, filled.base.step, filled.end.step) == (3000, 2, 20)
    assert filled.n_verdicts == EventVerdict.objects.count() > 100
    assert filled.n_decisions == Decision.objects.filter(taken_in__gt=2).count() > 0
    assert Checkpoint.objects.get(pk=filled.base.pk).is_pinned
    assert fresh_fold.verify(filled.end) == filled.end.digest


def test_every_fold_has_a_row_with_its_ratio_and_its_profile(monkeypatch):
    monkeypatch.setattr(refold_speed, "N_TIMES", 1)
    profiles = []
    rows = list(refold_speed.measure(run_revert=reverts.run_next, n_events=600, sizes=[60], profiles=profiles))
    names = [row.measure.partition(":")[0] for row in rows]
    assert names == ["restore", "verify", "revert", "rebuild"] * 2
    assert {row.measure.partition(", ")[2] for row in rows} == {"quiet", "attacked"}
    assert all(row.value > 0 and row.is_most and row.budget == refold_speed.FOLD_BUDGET for row in rows)
    assert len(profiles) == 2
    assert all("Ordered by: internal time" in profile for profile in profiles)
