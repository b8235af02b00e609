"""A key's rate is counted over all processes, per event or per request."""

import re
import threading

import pytest

from recommender.api import api_keys, rate_limits
from recommender.api.api_keys import Key
from recommender.errors import RateLimited

pytestmark = pytest.mark.usefixtures("view_store", "clock", "_a_second_lasts")


@pytest.fixture
def _a_second_lasts(monkeypatch):
    """Make windows longer than any test, because the store counts by its own clock."""
    monkeypatch.setattr(rate_limits.rates, "window_s", 3600)


@pytest.fixture
def make_limited(anonymous):
    """Return a function that makes a key with a rate and returns its secret."""

    def make(scope, rate):
        return api_keys.make_key(name=f"{rate}/s", scopes=[scope], rate_per_s=rate)[1]

    return make


def test_a_key_within_its_rate_is_let_through_and_past_it_told_to_wait(anonymous, make_limited):
    secret = make_limited("read", 5)
    statuses = [anonymous.get("/api/v1/items/a", secret=secret).status for _ in range(5)]
    assert statuses == [404] * 5
    answer = anonymous.get("/api/v1/items/a", secret=secret)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "rate_limited", "1")
    answer = anonymous.get("/api/v1/trending", secret=secret)
    assert (answer.status, answer.code) == (429, "rate_limited")


def test_every_event_of_a_batch_counts(anonymous, make_limited, empty_log):
    secret = make_limited("ingest", 100)
    batch = {"events": [{"actor": "ana", "item": "a"}] * 60}
    assert anonymous.post("/api/v1/events", batch, secret=secret).status == 202
    answer = anonymous.post("/api/v1/events", batch, secret=secret)
    assert (answer.status, answer.code) == (429, "rate_limited")


def test_a_batch_larger_than_the_rate_is_told_to_be_smaller(anonymous, make_limited):
    secret = make_limited("ingest", 10)
    answer = anonymous.post("/api/v1/events", {"events": [{"actor": "a", "item": "b"}] * 11}, secret=secret)
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert "smaller batches" in answer.json["error"]["message"]


def test_processes_side_by_side_share_one_rate(view_store):
    key = Key(id=1, name="site", scopes=frozenset({"read"}), rate_per_s=50)
    let_through = []

    def hit():
        for _ in range(40):
            try:
                rate_limits.charge(key)
            except RateLimited:
                continue
            let_through.append(1)

    threads = [threading.Thread(target=hit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_through) == 50


def unlimited(api):
    """Return how many requests were let through because the store is away."""
    (line,) = re.findall(r"^groundswell_rate_unlimited_total (\S+)$", api.get("/metrics").body.decode(), re.MULTILINE)
    return float(line)


def test_a_key_without_a_rate_costs_no_round_trip(view_store):
    before = view_store.info("stats")["total_commands_processed"]
    rate_limits.charge(Key(id=1, name="site", scopes=frozenset(), rate_per_s=None), cost=10_000)
    # the command that this test sends itself
    assert view_store.info("stats")["total_commands_processed"] == before + 1


def test_a_key_with_one_costs_one(view_store):
    key = Key(id=1, name="site", scopes=frozenset(), rate_per_s=100)
    rate_limits.charge(key)
    before = view_store.info("stats")["total_commands_processed"]
    rate_limits.charge(key)
    assert view_store.info("stats")["total_commands_processed"] > before + 1


def test_while_the_store_is_away_nobody_is_limited_and_it_is_counted(anonymous, settings):
    settings.VIEW_URL = "redis://127.0.0.1:1"
    before = unlimited(anonymous)
    for _ in range(20):
        rate_limits.charge(Key(id=1, name="site", scopes=frozenset(), rate_per_s=1))
    assert unlimited(anonymous) == before + 20
