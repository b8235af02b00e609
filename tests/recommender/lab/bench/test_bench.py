"""Tests for the parts of the bench that could lie: load, sender, arithmetic."""

import itertools
import json
import threading
from collections import Counter

import numpy as np
import orjson
import pytest
from django.core.management import CommandError, call_command

from recommender.intake.event_rows import parse_events
from recommender.lab.bench import event_stream, recommendations_rate, step_speed
from recommender.lab.bench.http_load import Load, LoadPlan, run
from recommender.lab.bench.load_sender import make_requests
from recommender.lab.bench.results import BenchRow, notes, percentile, table
from recommender.lab.bench.running_system import CannotMeasure, Rig
from recommender.lab.bench.trending_rate import parse_wrk
from tests.help.scripted_server import Script, accept, accept_and_close, refuse, serving

WRK = """Running 2s test @ http://127.0.0.1:8000/health/live
  1 threads and 8 connections
  Latency Distribution
     50%    1.10ms
     99%  870.00us
  5000 requests in 2.00s, 1.00MB read
Requests/sec:   2499.51
"""


def plan_for(url, **options):
    return LoadPlan(
        host="127.0.0.1", port=int(url.rpartition(":")[2]), key="k", **{"seconds": 0.3, "connections": 2} | options
    )


def test_every_event_of_the_load_is_valid_and_new_in_each_round():
    bodies = event_stream.bodies(3, 50, seed=1)
    first, again = (
        parse_events(event_stream.fill(bodies[0], label=n, at=1e9), now_s=1e9, oldest_s=0.0) for n in (1, 2)
    )
    assert len(first.events) == len(again.events) == 50
    assert not first.rejected
    assert set(first.events.key).isdisjoint(again.events.key)
    assert set(first.events.actor).isdisjoint(again.events.actor)
    assert set(first.events.item) == set(again.events.item)
    assert first.events.occurred_at == [1e9] * 50
    (single,) = event_stream.bodies(1, 1, seed=1)
    assert orjson.loads(event_stream.fill(single, label=1, at=1e9))["occurred_at"] == 1e9


def test_the_same_seed_makes_the_same_load_with_unequal_items():
    made, again = event_stream.columns(50_000, seed=3), event_stream.columns(50_000, seed=3)
    assert np.array_equal(made.item, again.item)
    counts = np.sort(np.bincount(made.item))[::-1]
    assert counts[:200].sum() > 0.15 * len(made)
    assert (counts > 0).sum() > 5000
    assert len(set(made.actor.tolist())) > len(made) / (2 * event_stream.EVENTS_AN_ACTOR)


def test_the_sender_sends_whole_batches_and_counts_what_was_accepted():
    script = Script(accept)
    with serving(script) as url:
        result = run(plan_for(url, batch=20))
    assert result.by_status == {202: result.n_requests}
    assert result.accepted == 20 * len(script.got) > 0
    ids = [event["event_id"] for _, body, _ in script.got for event in json.loads(body)["events"]]
    assert len(set(ids)) == len(ids)
    assert len(script.connections) == 2
    assert 0 < result.p50_s <= result.p99_s


def test_the_sender_asks_for_each_of_its_addresses_in_turn():
    paths = ["/a?actor=1", "/a?actor=2", "/b"]
    request = make_requests(plan_for("http://127.0.0.1:80", paths=paths))
    assert [request(n).split()[1].decode() for n in range(4)] == [*paths, paths[0]]
    with serving(Script(accept, reads=True)) as url:
        assert run(plan_for(url, paths=paths, connections=1)).by_status.keys() == {200}


def test_readers_of_the_bench_go_along_the_same_paths():
    made = recommendations_rate.walks(2_000, seed=1)
    assert made == recommendations_rate.walks(2_000, seed=1)
    assert all(len(set(items)) == recommendations_rate.N_ACTS for items in made)
    pairs = Counter(pair for items in made for pair in itertools.pairwise(items))
    assert sum(n for n in pairs.values() if n >= 3) > 0.5 * sum(pairs.values())


def test_the_sender_does_not_exceed_a_rate():
    script = Script(accept)
    with serving(script) as url:
        result = run(plan_for(url, batch=2, rate=50.0, seconds=1.0))
    assert 0 < result.n_requests <= 51


def test_a_request_that_had_to_wait_for_a_connection_is_late_from_its_own_time_on():
    held = threading.Event()

    def slow(handler):
        held.wait(0.05)
        accept(handler)

    with serving(Script(slow)) as url:
        result = run(plan_for(url, batch=2, rate=100.0, seconds=0.5, connections=1))
    assert result.p99_s > 0.2  # ten times as long as the server holds a request


def test_lost_connections_are_counted_and_the_sender_goes_on():
    with serving(Script(accept_and_close)) as url:
        result = run(plan_for(url, batch=2))
    assert result.by_status[202] > 1


def test_a_server_that_refuses_is_not_measured():
    with serving(Script(refuse(429, "backlog_full"))) as url, pytest.raises(CannotMeasure, match="429"):
        Rig(url, "k", has_database=False, seed=1).run(seconds=0.2, connections=1, batch=1)


def test_every_plan_of_a_rig_has_ids_of_its_own():
    rig = Rig("http://127.0.0.1:1", "k", has_database=False, seed=1)
    labels = [rig.load(seconds=1, connections=1).label for _ in range(50)]
    assert min(abs(a - b) for i, a in enumerate(labels) for b in labels[:i]) >= 4096


def test_a_load_process_is_gone_when_closed():
    with serving(Script(accept)) as url:
        load = Load(plan_for(url, batch=2, seconds=60.0))
        load.start()
        load.close()
    assert load._process.returncode is not None


def test_a_budget_is_the_least_or_the_most():
    assert BenchRow(measure="m", value=3.0, unit="/s", budget=2.0).is_met
    assert not BenchRow(measure="m", value=3.0, unit="s", budget=2.0, is_most=True).is_met
    assert BenchRow(measure="m", value=3.0, unit="/s").is_met is None
    row = BenchRow(measure="m", value=3.0, unit="/s", ceiling=12.0, of="another")
    assert row.ratio == 0.25
    assert row.as_json()["ratio"] == 0.25
    assert notes([row]) == ["m: compared with another"]
    assert table([row]).row_count == 1


def test_percentiles_are_values_that_occurred():
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]


def test_what_wrk_says_is_understood_and_its_errors_are_not_passed_over():
    assert parse_wrk(WRK) == (2499.51, 0.87)
    with pytest.raises(CannotMeasure, match="Non-2xx"):
        parse_wrk(WRK + "  Non-2xx or 3xx responses: 4\n")


def test_the_step_measure_runs_and_has_a_ceiling():
    rows = list(step_speed._measure("stream", step_speed._generated(1), 0.2))
    assert [row.unit for row in rows] == ["events/s"] * 2
    assert all(row.ratio and row.ratio < 1 for row in rows)


@pytest.mark.parametrize("url", ["http://news.example", "http://192.0.2.1:8000", "https://127.0.0.1", "nonsense"])
def test_a_server_elsewhere_is_not_attacked(url):
    with pytest.raises(CommandError, match="on this machine"):
        call_command("bench", "trending", "--url", url, "--key", "k")
