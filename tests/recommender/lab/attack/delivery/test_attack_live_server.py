"""Tests for live attacks: only on this machine, and never above the bounds."""

import json
import threading

import pytest
from django.core.management import CommandError, call_command

from recommender.lab.attack.catalogue.all_attacks import attack
from recommender.lab.attack.delivery.attack_live_server import MAX_EVENTS, Live
from recommender.lab.client import Receipt
from recommender.lab.loopback import NotHere, require_loopback
from tests.help.scripted_server import Script, accept, serving


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com:8000",
        "http://10.0.0.1:8000",
        "http://0.0.0.0:8000",
        "http://192.168.1.5",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com/",
        "https://127.0.0.1:8000",
        "ftp://127.0.0.1",
        "127.0.0.1:8000",
        "http://[2001:db8::1]:8000",
        "",
    ],
)
def test_a_server_elsewhere_is_refused(url):
    with pytest.raises(NotHere):
        require_loopback(url)
    with pytest.raises(CommandError, match="on this machine only"):
        call_command("attack", "live", "--url", url, "--key", "k", "--attack", "A2", "--budget", "5")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:9", "http://127.9.9.9"])
def test_a_server_on_this_machine_is_not(url):
    live = Live(url, "k", stop=threading.Event())
    assert live.receipt == Receipt()  # nothing is sent before `run`


def test_rate_and_number_are_bounded():
    with pytest.raises(ValueError, match="at most"):
        Live("http://127.0.0.1:1", "k", stop=threading.Event(), rate=1e6)
    with pytest.raises(ValueError, match="at most"):
        Live("http://127.0.0.1:1", "k", stop=threading.Event(), max_events=MAX_EVENTS + 1)


def test_a_live_attack_sends_its_plan_and_no_more_than_allowed():
    script = Script(accept)
    with serving(script) as url:
        live = Live(url, "k", stop=threading.Event(), rate=400, max_events=30)
        said = []
        chosen = attack("A2")(duration_s=2.0)
        live.run(chosen, n_actors=50, seed=1, target="item-7", variant="plain", say=said.append)
    events = [event for _, body, _ in script.got for event in json.loads(body)["events"]]
    assert len(events) == live.receipt.accepted == 30
    assert {event["item"] for event in events} == {"item-7"}
    assert "50 accounts" in said[0]


def test_an_attack_that_needs_stolen_accounts_says_that_it_has_none():
    script = Script(accept)
    with serving(script) as url:
        live = Live(url, "k", stop=threading.Event())
        with pytest.raises(ValueError, match="history"):
            live.run(attack("A9")(), n_actors=5, seed=1, target="x", variant="plain", say=print)
