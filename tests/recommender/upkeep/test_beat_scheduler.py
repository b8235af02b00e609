"""Beat sends every wake at its interval, also when the machine's clock is set."""

from datetime import timedelta

import pytest
from celery import Celery

from config import celery as project
from recommender.upkeep.beat_scheduler import SteadyScheduler
from tests.help.held_clock import HeldClock


class Beat(SteadyScheduler):
    """A scheduler on a held clock that only notes what it sends."""

    def __init__(self, schedule, full=()):
        self.sent, self.full, self.now = [], full, HeldClock()
        super().__init__(Celery("of the test", beat_schedule=schedule, set_as_current=False), max_interval=5.0)

    def _send(self, entry):
        self.sent.append(entry.name)

    def sent_within(self, seconds):
        """Return the names that are sent in this time, as beat's loop does it."""
        self.sent, ends_at = [], self.now() + seconds
        while self.now() < ends_at:
            self.now.forward(max(0.001, self.tick()))
        return self.sent


@pytest.fixture
def beat():
    return Beat({"often": {"task": "often", "schedule": 0.25}, "rarely": {"task": "rarely", "schedule": 3.0}})


def test_every_entry_is_sent_at_once_and_then_at_its_interval(beat):
    sent = beat.sent_within(6.0)
    assert set(sent[:2]) == {"often", "rarely"}
    assert sent.count("often") == pytest.approx(24, abs=1)
    assert sent.count("rarely") == 2


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_machine_whose_clock_is_set_sends_as_before(beat, hours, monkeypatch):
    beat.sent_within(6.0)
    now = beat.app.now
    monkeypatch.setattr(beat.app, "now", lambda: now() + timedelta(hours=hours))
    sent = beat.sent_within(6.0)
    assert sent.count("often") == pytest.approx(24, abs=1)
    assert sent.count("rarely") == 2


def test_beat_never_sleeps_for_longer_than_it_was_told(beat):
    beat.tick()
    assert beat.tick() <= 0.25
    assert Beat({"rarely": {"task": "rarely", "schedule": 3600.0}}).tick() <= 3600.0
    assert Beat({}).tick() == 5.0


def test_no_wake_of_the_schedule_expires_by_a_clock():
    assert project.app.conf.beat_scheduler == "recommender.upkeep.beat_scheduler:SteadyScheduler"
    assert all("expires" not in entry.get("options", {}) for entry in project.app.conf.beat_schedule.values())
    assert all(isinstance(entry["schedule"], float) for entry in project.app.conf.beat_schedule.values())


def test_beat_touches_a_file_for_monitors(tmp_path):
    beat = SteadyScheduler(Celery("of the test", set_as_current=False), schedule_filename=str(tmp_path / "beat"))
    beat.sync()
    assert (tmp_path / "beat").exists()
