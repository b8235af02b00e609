"""Wakes are rare, and a broker that is down delays no one."""

import uuid

import pytest
from celery import Celery
from django.conf import settings as django_settings

from recommender import wake_workers
from recommender.wake_workers import BROKER_RETRY_EVERY_S, FREQUENT_WAITING, MAX_WAITING, Waker, send_task
from tests.help.held_clock import HeldClock
from tests.help.patience import PATIENCE_S, wait_for


class Broker:
    """Take tasks while it is up, and remember the shards it was asked to wake."""

    def __init__(self, clock=None, takes_s=0.0):
        self.is_up, self.asked = True, []
        self.clock, self.takes_s = clock, takes_s

    def send(self, name, shard, *, queue):
        assert (name, queue) == ("recommender.learn", f"learn-{shard}")
        self.asked.append(shard)
        if self.clock:
            self.clock.forward(self.takes_s)
        return self.is_up


@pytest.fixture
def broker(settings):
    settings.PUBLISH_EVERY_S = 0.5
    return Broker()


def test_a_shard_is_woken_once_in_a_while_and_every_shard_by_itself(broker):
    clock = HeldClock()
    waker = Waker(clock, broker.send)
    for _ in range(3):
        waker.wake(0)
        waker.wake(1)
    assert broker.asked == [0, 1]
    clock.forward(0.5)
    waker.wake(0)
    assert broker.asked == [0, 1, 0]


def test_a_broker_that_is_down_is_left_alone_for_longer(broker):
    clock = HeldClock()
    waker = Waker(clock, broker.send)
    broker.is_up = False
    waker.wake(0)
    broker.is_up = True
    clock.forward(BROKER_RETRY_EVERY_S - 0.1)
    waker.wake(0)
    assert broker.asked == [0]
    clock.forward(0.1)
    waker.wake(0)
    assert broker.asked == [0, 0]


def test_a_broker_that_is_down_takes_a_tenth_of_the_time_for_all_shards_together(settings):
    settings.PUBLISH_EVERY_S = 0.5
    clock = HeldClock()
    slow = Broker(clock, takes_s=2.0)
    slow.is_up = False
    waker = Waker(clock, slow.send)
    waker.wake(0)
    clock.forward(19.9)
    waker.wake(0)
    waker.wake(1)
    assert slow.asked == [0]
    clock.forward(0.1)
    waker.wake(1)
    assert slow.asked == [0, 1]


BROKERS = {"valkey": None, "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//"}


@pytest.fixture(params=list(BROKERS))
def queue(request, monkeypatch):
    """Yield the name of a queue that no worker reads, and a way to count its wakes."""
    url = BROKERS[request.param] or django_settings.BROKER_URL
    name = f"unread-{uuid.uuid4().hex}"
    app = Celery("of the test", broker=url, broker_connection_timeout=2)
    try:
        with app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=0, timeout=2)
    except Exception as error:  # each broker's client raises its own errors
        pytest.skip(f"no such broker here ({error})")
    monkeypatch.setattr(wake_workers, "current_app", app)

    def count():
        with app.connection_for_write() as broker:
            return broker.channel().queue_declare(name, passive=True).message_count

    yield name, count
    with app.connection_for_write() as broker:
        broker.channel().queue_delete(name)
    app.close()


def test_a_queue_whose_worker_is_stopped_gets_a_few_wakes_and_no_more(queue):
    name, count = queue
    for _ in range(2 * MAX_WAITING):
        assert send_task("recommender.erase", queue=name)
    assert MAX_WAITING <= count() < 2 * MAX_WAITING  # RabbitMQ counts a moment later


def test_frequent_wakes_leave_places_for_the_rest(queue):
    name, count = queue
    for _ in range(2 * MAX_WAITING):
        assert send_task("recommender.learn", 0, queue=name)
    assert FREQUENT_WAITING <= count() < MAX_WAITING
    wait_for(lambda: count() >= FREQUENT_WAITING)
    n_before = count()
    assert send_task("recommender.erase", queue=name)
    wait_for(lambda: count() > n_before)


def test_a_wake_never_expires_by_the_clock_of_another_machine(queue):
    name, _ = queue
    send_task("recommender.learn", 0, queue=name)
    with wake_workers.current_app.connection_for_read() as broker:
        message = broker.SimpleQueue(name).get(timeout=PATIENCE_S)
        assert message.headers["expires"] is None
        message.ack()
