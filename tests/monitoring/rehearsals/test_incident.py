"""Tests for the rehearsed incident, made short.

It goes from flood to alarm, freeze, revert without the attackers and thaw. It ends in the clean learner's state.
"""

import time
from datetime import UTC, datetime, timedelta

import pytest

from monitoring.rehearsals import incident
from monitoring.rehearsals.incident import Incident, IncidentPlan
from recommender.log.partitions import ensure_partitions


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("view_store", "empty_log", "fresh_process", "wall")
def test_an_incident_ends_in_the_state_of_a_learner_that_never_got_the_attack(settings, clock, monkeypatch):
    settings.AFTER_STEP = "monitoring.policy.after_step"
    settings.SCREEN = False
    settings.WATCH_EVERY_S = 0.0
    settings.LAG_ALARM_S = 1e9
    settings.CHECKPOINT_EVERY_S = 2.0
    monkeypatch.setattr(incident, "AFTER_S", 60.0)
    for days in range(4):
        ensure_partitions(today=datetime.fromtimestamp(time.time(), UTC).date() - timedelta(days=days))
    story = Incident(IncidentPlan(), say=lambda _moment: clock.forward(2.0)).run()
    assert [what for what, is_so in story.checks if not is_so] == []
    assert len(story.checks) == 14
