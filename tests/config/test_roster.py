"""Tests of the claimed port.

It is ours from the moment it was chosen, although the web server listens seconds later.
"""

import socket

import pytest

from config import roster
from config.home import CannotStart
from tests.help.patience import PATIENCE_S


@pytest.fixture
def port(monkeypatch):
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        free = trial.getsockname()[1]
    monkeypatch.setenv("PORT", str(free))
    return free


def claim():
    return roster.claim_port(say=lambda _text: None)


def test_a_claimed_port_is_in_use_before_anybody_listens(port):
    with claim(), pytest.raises(CannotStart, match=f"Port {port} is in use"):
        claim()


def test_the_web_server_listens_on_the_claimed_port_and_gets_every_connection(port):
    with claim(), socket.socket() as web:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):  # granian sets both
            web.setsockopt(socket.SOL_SOCKET, option, 1)
        web.bind(("127.0.0.1", port))
        web.listen()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as visitor:
                accepted, _ = web.accept()
                with accepted:
                    assert accepted.getpeername() == visitor.getsockname()


def test_a_port_can_be_claimed_again_at_once(port):
    for _ in range(2):
        with claim() as claimed:
            assert claimed.getsockname()[1] == port
