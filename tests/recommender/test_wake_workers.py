"""Wakes are rare, and a broker that is down delays no one."""

import pytest

from recommender.wake_workers import BROKER_RETRY_EVERY_S, Waker
from tests.help.held_clock import HeldClock


class Broker:
    """Take tasks while it is up, and remember the shards it was asked to wake."""

    def __init__(self):
        self.is_up, self.asked = True, []

    def send(self, name, shard, *, queue, expires_s):
        assert (name, queue) == ("recommender.learn", f"learn-{shard}")
        self.asked.append(shard)
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
