"""Beat sends every wake at its interval, also when the machine's clock is set."""

import signal
from collections import defaultdict
from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.beat import Service
from celery.signals import beat_init

from config import celery as project
from recommender import wake_workers
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


class Queues:
    """The queues of a broker, of which beat sees the lengths."""

    class ChannelError(Exception):
        pass

    def __init__(self):
        self.waiting = defaultdict(list)
        self.channel = self.connection = self
        self.channel_errors = (self.ChannelError,)

    def queue_declare(self, queue, *, passive):
        assert passive
        if not self.waiting[queue]:
            raise self.ChannelError
        return SimpleNamespace(message_count=len(self.waiting[queue]))


class BeatOfTheProject(SteadyScheduler):
    """The project's schedule on a held clock, into queues that the test reads."""

    def __init__(self):
        self.now, self.queues = HeldClock(), Queues()
        super().__init__(project.app, max_interval=5.0)

    @property
    def producer(self):
        return self.queues

    def apply_entry(self, entry, producer=None):
        assert producer is self.queues
        self.queues.waiting[(entry.options or {}).get("queue", "maintenance")].append(entry.task)

    def run(self, seconds):
        ends_at = self.now() + seconds
        while self.now() < ends_at:
            self.now.forward(max(0.001, self.tick()))


def tasks_of(queue):
    entries = project.app.conf.beat_schedule.values()
    return {each["task"] for each in entries if each.get("options", {}).get("queue", "maintenance") == queue}


@pytest.mark.parametrize("queue", ["maintenance", "learn-0"])
def test_every_task_gets_a_place_in_the_queue_of_a_stopped_worker(queue):
    beat = BeatOfTheProject()
    beat.run(600.0)
    assert set(beat.queues.waiting[queue]) == tasks_of(queue)
    assert len(beat.queues.waiting[queue]) == wake_workers.MAX_WAITING


def test_a_keeper_that_is_slower_than_its_frequent_tasks_runs_every_other_task_often():
    beat, done = BeatOfTheProject(), []
    for _ in range(200):  # 20 minutes: each frequent task takes 6 s, and the others hardly any time
        beat.run(6.0)
        waiting = beat.queues.waiting["maintenance"]
        while waiting:
            done.append(waiting.pop(0))
            if done[-1] in wake_workers.FREQUENT:
                break
    rare = tasks_of("maintenance") - wake_workers.FREQUENT
    assert {name: done.count(name) >= 30 for name in rare} == dict.fromkeys(rare, True)
    assert all(done.count(name) >= 30 for name in wake_workers.FREQUENT & tasks_of("maintenance"))


def test_beat_touches_a_file_for_monitors(tmp_path):
    beat = SteadyScheduler(Celery("of the test", set_as_current=False), schedule_filename=str(tmp_path / "beat"))
    beat.sync()
    assert (tmp_path / "beat").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_beat_ends_at_a_signal_that_arrives_inside_a_finalizer(number, monkeypatch):
    class Ended:
        def __del__(self):
            signal.raise_signal(number)

    def exit_as_celery_does(*_):
        raise SystemExit

    known = {each: signal.signal(each, exit_as_celery_does) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        service = Service(Celery("of the test", set_as_current=False), scheduler_cls=SteadyScheduler)
        monkeypatch.setattr("recommender.log.id_secret.check_at_start", lambda: None)
        beat_init.send(sender=service)
        Ended()
        assert service._is_shutdown.is_set()
        with pytest.raises(SystemExit):
            signal.raise_signal(number)
    finally:
        for each, handler in known.items():
            signal.signal(each, handler)
