"""Tests for sent log files: each row arrives once, at a time not in the future."""

import json
import os
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from django.core.management import CommandError, call_command
from django.db.models import Max, Min

from recommender.api import api_keys
from recommender.lab.client import Client, Refused
from recommender.lab.send import MAX_AGE_S, EventFile, Sender, UnreadableLog
from recommender.models import Event
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.scripted_server import Script, accept, accept_and_close, drop, refuse, serving

NOW = 1_800_000_000.0


@pytest.fixture
def log_file(tmp_path):
    """Return a function that writes a log.

    By default it has 100 clicks of 7 actors, one second apart.
    """

    def write(n=100, **columns):
        frame = {
            "ts": [1_500_000_000.0 + i for i in range(n)],
            "actor": [f"actor {i % 7}" for i in range(n)],
            "item": [i % 11 for i in range(n)],
        } | columns
        path = tmp_path / "log.parquet"
        pl.DataFrame(frame).write_parquet(path)
        return path

    return write


def events_of(path, *, size=30, speed=None, run="r", limit=None):
    batches = EventFile(path, run=run, limit=limit).batches(size, speed=speed, started_at=NOW)
    return [event for batch in batches for event in batch.events]


def test_every_row_becomes_one_event_in_order(log_file):
    events = events_of(log_file())
    assert [event["item"] for event in events] == [str(i % 11) for i in range(100)]
    assert events[3] == {
        "event_id": events[3]["event_id"],
        "occurred_at": NOW - 96,
        "actor": "actor 3",
        "item": "3",
    }


def test_optional_columns_go_along_where_they_hold_something(log_file):
    path = log_file(
        3,
        kind=["like", None, "share"],
        value=[1.5, float("nan"), None],
        session=[7, 8, None],
        ip=["192.0.2.1", None, None],
        country=["DE", "Germany", None],
        referrer=[None, "https://a.example/", None],
    )
    first, second, third = events_of(path)
    assert (first["kind"], first["value"], first["session"]) == ("like", 1.5, "7")
    assert first["context"] == {"ip": "192.0.2.1", "country": "DE"}
    assert "kind" not in second
    assert "value" not in second
    assert second["context"] == {"referrer": "https://a.example/"}
    assert {"value", "session", "context"}.isdisjoint(third)


def test_a_country_or_referrer_that_is_a_number_is_the_files_own_code_and_stays_out(log_file):
    events = events_of(log_file(2, country=[1, 2], referrer=[5, 6]))
    assert all("context" not in event for event in events)


def test_the_last_row_happens_now_and_very_old_ones_a_day_ago(log_file):
    ts = [1_500_000_000.0, 1_500_500_000.0, 1_500_500_060.0]
    times = [event["occurred_at"] for event in events_of(log_file(3, ts=ts))]
    assert times == [NOW - MAX_AGE_S, NOW - 60, NOW]


def test_with_a_speed_time_runs_from_now_on_and_batches_wait_until_they_are_due(log_file):
    batches = list(EventFile(log_file(), run="r").batches(30, speed=10.0, started_at=NOW))
    times = [event["occurred_at"] for batch in batches for event in batch.events]
    assert times == pytest.approx([NOW + i / 10 for i in range(100)])
    assert all(batch.due_at >= max(event["occurred_at"] for event in batch.events) for batch in batches)
    spans = [batch.events[-1]["occurred_at"] - batch.events[0]["occurred_at"] for batch in batches]
    assert max(spans) <= 0.25
    assert sum(len(batch.events) for batch in batches) == 100


def test_ids_depend_on_the_file_the_run_and_the_row_only(log_file):
    path = log_file()
    ids = [event["event_id"] for event in events_of(path)]
    assert len(set(ids)) == 100
    assert ids == [event["event_id"] for event in events_of(path, size=7, speed=3.0)]
    assert ids[:10] == [event["event_id"] for event in events_of(path, limit=10)]
    assert set(ids).isdisjoint(event["event_id"] for event in events_of(path, run="another"))
    assert set(ids).isdisjoint(event["event_id"] for event in events_of(log_file(item=["x"] * 100)))


def test_what_is_no_log_is_refused_with_a_reason(log_file, tmp_path):
    with pytest.raises(UnreadableLog, match="cannot be read"):
        EventFile(tmp_path / "missing.parquet", run="r")
    (tmp_path / "text.parquet").write_text("ts,actor,item\n1,2,3\n")
    with pytest.raises(UnreadableLog, match="cannot be read"):
        EventFile(tmp_path / "text.parquet", run="r")
    pl.DataFrame({"ts": [1.0]}).write_parquet(tmp_path / "narrow.parquet")
    with pytest.raises(UnreadableLog, match="no column actor, item"):
        EventFile(tmp_path / "narrow.parquet", run="r")
    with pytest.raises(UnreadableLog, match="1 rows have no time"):
        EventFile(log_file(2, ts=[1.0, None]), run="r")


# -- against servers ----------------------------------------------------------------------------------------------


def send(url, path, *, connections=3, size=10):
    stop = threading.Event()
    clients = [Client(url, key="a key", stop=stop, on_wait=lambda *_: None) for _ in range(connections)]
    return Sender(clients, stop=stop).send(EventFile(path, run="r").batches(size, speed=None, started_at=NOW))


class Once:
    """A server that fails in every way, at random but seeded, and counts each id once."""

    def __init__(self):
        self.ids = []
        self.rng = random.Random(5)
        self.lock = threading.Lock()

    def __call__(self, handler):
        with self.lock:
            dice = self.rng.random()
            if dice < 0.2:
                return refuse(503, "unavailable", Retry_After="0")(handler)
            if dice < 0.3:
                return refuse(429, "backlog_full", Retry_After="0")(handler)
            if dice < 0.4:
                return drop(handler)
            ids = [event["event_id"] for event in json.loads(handler.body)["events"]]
            fresh = [each for each in ids if each not in self.ids]
            self.ids += fresh
            if dice < 0.5:
                return drop(handler)  # stored, but the answer is lost
            return handler.answer(202, {"accepted": len(fresh), "duplicates": len(ids) - len(fresh), "rejected": []})


def test_every_event_arrives_once_over_a_server_that_fails_all_the_time(log_file):
    server = Once()
    with serving(Script(server)) as url:
        sent = send(url, log_file(400))
    assert sorted(server.ids) == sorted(event["event_id"] for event in events_of(log_file(400)))
    assert len(set(server.ids)) == 400
    assert sent.receipt.n_answered == 400
    assert sent.receipt.duplicates == 400 - sent.receipt.accepted
    assert sent.n_retries > 10
    assert sent.is_complete


def test_a_server_that_closes_every_connection_costs_no_event(log_file):
    with serving(Script(accept_and_close)) as url:
        assert send(url, log_file()).receipt.accepted == 100


def test_a_refusal_ends_the_run(log_file):
    with serving(Script(accept, refuse(401, "not_authenticated"))) as url, pytest.raises(Refused, match="401"):
        send(url, log_file())


@pytest.fixture
def ingest_key(empty_log):
    return api_keys.make_key(name="send", scopes=["ingest"])[1]


pages_need_no_static_files = pytest.mark.filterwarnings("ignore:No directory at")


@pages_need_no_static_files
def test_a_log_sent_twice_under_one_name_is_in_the_log_once(live_server, ingest_key, view_store, log_file):
    arguments = [
        str(log_file(250)),
        "--url",
        live_server.url,
        "--key",
        ingest_key,
        "--run",
        "monday",
        "--batch",
        "100",
    ]
    call_command("send", *arguments, "--limit", "120")
    assert Event.objects.count() == 120
    first, last = Event.objects.aggregate(first=Min("occurred_at"), last=Max("occurred_at")).values()
    assert last - first == timedelta(seconds=119)
    assert last <= datetime.now(UTC)
    call_command("send", *arguments)
    assert Event.objects.count() == 250
    assert Event.objects.values("actor", "item").distinct().count() == 77


@pages_need_no_static_files
def test_the_command_tells_how_many_were_rejected_and_why(live_server, ingest_key, view_store, log_file, capsys):
    path = log_file(4, actor=["ana", "", "mal\x00", "ana"], kind=["click", "click", "click", "juggle"])
    call_command("send", str(path), "--url", live_server.url, "--key", ingest_key, "--run", "r1")
    told = capsys.readouterr().err
    assert Event.objects.count() == 1
    for line in ("run r1", "rejected: invalid_actor", "rejected: invalid_kind", "accepted"):
        assert line in told


def test_when_told_to_stop_it_says_how_to_go_on(log_file):
    script = Script(refuse(429, "backlog_full", Retry_After="30"))
    with serving(script) as url:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "send", str(log_file()), "--url", url, "--run", "tuesday"],
            env=os.environ | {"GROUNDSWELL_KEY": "a key"},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: script.got or process.poll() is not None)
        assert process.poll() is None
        process.terminate()
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "--run tuesday" in told


@pytest.mark.parametrize(
    "wrong",
    [["--batch", "0"], ["--batch", "10001"], ["--connections", "0"], ["--speed", "0"], ["--speed", "nan"],
     ["--limit", "0"], ["--run", "a b"], ["--url", "localhost:8000"]],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(log_file, wrong):
    with pytest.raises(CommandError):
        call_command("send", str(log_file()), "--key", "a key", *wrong)
