"""Tests for the client against a server that fails in every way.

It refuses, drops, is slow, or answers 429 and 503.
"""

import threading

import pytest

from recommender.lab.client import Client, Receipt, Refused, Stopped
from tests.help.scripted_server import Script, accept, accept_and_close, closed_port, drop, refuse, serving

CLICK = {"event_id": "1", "actor": "ana", "item": "story"}


def client(url, **options):
    waits = []
    made = Client(url, key="a key", on_wait=lambda *wait: waits.append(wait), **options)
    made.waits = waits
    return made


def test_events_are_sent_with_the_key_over_one_connection():
    script = Script(accept)
    with serving(script) as url:
        ana = client(url)
        receipt = ana.post_events([CLICK])
        receipt += ana.post_events([CLICK, CLICK])
        ana.close()
    assert receipt == Receipt(accepted=3)
    assert {path for path, _, _ in script.got} == {"/api/v1/events"}
    assert script.got[0][2]["Authorization"] == "Bearer a key"
    assert len(script.connections) == 1
    assert ana.n_retries == 0


def test_rejections_are_counted_by_code():
    def partly(handler):
        rejected = [{"index": i, "code": code, "message": "no"} for i, code in enumerate(["a", "b", "a"])]
        handler.answer(202, {"accepted": 1, "duplicates": 2, "rejected": rejected})

    with serving(Script(partly)) as url:
        ana = client(url)
        receipt = ana.post_events([CLICK] * 6)
        ana.close()
    assert (receipt.accepted, receipt.duplicates, dict(receipt.rejected)) == (1, 2, {"a": 2, "b": 1})
    assert receipt.n_answered == 6


def test_a_full_server_gets_the_same_bytes_again_after_the_time_it_asked_for():
    script = Script(refuse(429, "backlog_full", Retry_After="0"), refuse(503, "unavailable", Retry_After="0"), accept)
    with serving(script) as url:
        ana = client(url)
        assert ana.post_events([CLICK]) == Receipt(accepted=1)
        ana.close()
    assert len({body for _, body, _ in script.got}) == 1
    assert len(script.got) == 3
    assert [pause for _, pause in ana.waits] == [0.0, 0.0]
    assert "backlog_full" in ana.waits[0][0]


def test_a_connection_dropped_without_an_answer_is_tried_again():
    script = Script(drop, drop, accept)
    with serving(script) as url:
        ana = client(url)
        assert ana.post_events([CLICK]) == Receipt(accepted=1)
        ana.close()
    assert len({body for _, body, _ in script.got}) == 1
    assert ana.n_retries == 2


def test_an_idle_connection_that_the_server_closed_costs_no_pause():
    script = Script(accept_and_close, accept)
    with serving(script) as url:
        ana = client(url)
        ana.post_events([CLICK])
        ana.post_events([CLICK])
        ana.close()
    assert ana.waits == []


def test_a_server_that_is_not_there_yet_is_waited_for():
    port = closed_port()
    stop = threading.Event()
    ana = Client(f"http://127.0.0.1:{port}", stop=stop, on_wait=lambda *_: ana.n_retries >= 3 and stop.set())
    with pytest.raises(Stopped):
        ana.post_events([CLICK])
    assert ana.n_retries == 3


def test_pauses_grow_and_stay_bounded():
    pauses = []
    ana = Client(
        f"http://127.0.0.1:{closed_port()}", stop=CountingStop(20), on_wait=lambda _, pause: pauses.append(pause)
    )
    with pytest.raises(Stopped):
        ana.post_events([CLICK])
    assert pauses[0] <= 0.1
    assert max(pauses) <= 5.0
    assert min(pauses[10:]) >= 2.5


class CountingStop:
    """An event that is set after a number of waits, without the time that they take."""

    def __init__(self, n):
        self.n = n

    def is_set(self):
        return self.n <= 0

    def wait(self, _seconds):
        self.n -= 1
        return self.is_set()


@pytest.mark.parametrize(("status", "code"), [(400, "unparsable"), (401, "not_authenticated"), (413, "too_large")])
def test_what_another_try_cannot_change_is_raised_at_once(status, code):
    script = Script(refuse(status, code))
    with serving(script) as url:
        ana = client(url)
        with pytest.raises(Refused, match=f"{status} {code}: no") as refused:
            ana.post_events([CLICK])
        ana.close()
    assert (refused.value.status, refused.value.code) == (status, code)
    assert len(script.got) == 1


def test_stop_ends_a_long_wait():
    stop = threading.Event()
    script = Script(refuse(429, "backlog_full", Retry_After="60"))
    with serving(script) as url:
        ana = Client(url, stop=stop, on_wait=lambda *_: stop.set())
        with pytest.raises(Stopped):
            ana.post_events([CLICK])
        ana.close()


def test_a_path_before_the_api_is_kept():
    script = Script(accept)
    with serving(script) as url:
        ana = client(f"{url}/behind/a/proxy/")
        ana.post_events([CLICK])
        ana.close()
    assert script.got[0][0] == "/behind/a/proxy/api/v1/events"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/", "http://", ""])
def test_an_address_that_is_none_is_refused_with_an_example(url):
    with pytest.raises(ValueError, match=r"http://127\.0\.0\.1:8000"):
        Client(url)
