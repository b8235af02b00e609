"""Tests of the whole way of a click, through every process.

They run on private servers and on the machine's own servers, if it has some. One test also kills the processes one
after the other. Every acknowledged event must then be in the log once and be learned once. A fresh fold of the log
must arrive at the digest of the checkpoint.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from functools import cached_property

import psycopg
import pytest
import redis
from kombu import Connection

from config.processes import find_orphans
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.supervised import BASE_DIR, Running, fresh_home

POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
VIEW = "redis://127.0.0.1:6379/15"
# A score must not fade while a slow machine gets to read it.
UNFADING = {"HALF_LIVES_S": "604800"}
BROKERS = {"rabbitmq": "amqp://guest:guest@127.0.0.1:5672//", "redis": "redis://127.0.0.1:6379/14"}


def call(running, path, *, key, body=None, method=None):
    """Return the status and JSON of an answer, or 0 and the reason if none comes."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {running.keys[key]}", "Content-Type": "application/json"}
    request = urllib.request.Request(running.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")
    except (OSError, http.client.HTTPException) as error:  # who is killed may leave half an answer
        return 0, str(error)


def trending(running, query=""):
    status, answer = call(running, f"/api/v1/trending{query}", key="read")
    return [entry["item"] for entry in answer["items"]] if status == 200 else None


def events(actors, item, **more):
    return {"events": [{"event_id": str(uuid.uuid4()), "actor": actor, "item": item} | more for actor in actors]}


def manage(running, *arguments):
    """Return the output of a command of manage.py, run on a supervisor's servers."""
    ours = ("DATABASE_URL", "BROKER_URL", "VIEW_URL", "SECRET_KEY")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env |= {"GROUNDSWELL_HOME": str(running.home.path)} | getattr(running, "servers", {})
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class RunningOnServers(Running):
    """A Groundswell on servers that existed before.

    It has no key until a test makes one.
    """

    def __init__(self, home, servers):
        super().__init__(home, **servers, **UNFADING)
        self.servers = servers

    @cached_property
    def keys(self):
        keys = {scope: f"gsw_{uuid.uuid4().hex}" for scope in ("ingest", "read")}
        for scope, secret in keys.items():
            manage(self, "keys", "make", f"journey {scope}", "--scope", scope, "--key", secret)
        return keys


@pytest.fixture
def home():
    with fresh_home() as home:
        yield home


def walk(running):
    """Go from clicks to lists, as a site does."""
    readers = [f"reader-{number}" for number in range(30)]
    story = events(readers, "dam-gives-way", context={"country": "DE"})
    assert call(running, "/api/v1/events", key="ingest", body=story) == (
        202,
        {"accepted": 30, "duplicates": 0, "rejected": []},
    )
    assert call(running, "/api/v1/events", key="ingest", body=story)[1]["duplicates"] == 30
    call(running, "/api/v1/events", key="ingest", body=events(readers[:10], "harvest-festival"))
    wait_for(lambda: trending(running) == ["dam-gives-way", "harvest-festival"])
    assert trending(running, "?country=DE") == ["dam-gives-way"]

    status, answer = call(running, "/api/v1/trending?limit=1", key="read")
    (first,) = answer["items"]
    assert (status, answer["state"]) == (200, "learning")
    assert first["score"] == pytest.approx(30 * 0.05, rel=0.1)  # no actor here has earned trust yet
    assert first["margin"]["actors"] == pytest.approx(20, abs=3)

    described = {"items": [{"id": "dam-gives-way", "categories": ["local"]}, {"id": "ad", "is_hidden": True}]}
    assert call(running, "/api/v1/items", key="ingest", body=described, method="PUT")[0] == 200
    wait_for(lambda: trending(running, "?category=local") == ["dam-gives-way"])
    call(running, "/api/v1/events", key="ingest", body=events(readers, "ad"))
    hide = {"is_hidden": True}
    assert call(running, "/api/v1/items/dam-gives-way", key="ingest", body=hide, method="PATCH")[0] == 200
    wait_for(lambda: trending(running) == ["harvest-festival"])

    undo = events(readers[:10], "harvest-festival", kind="undo")
    call(running, "/api/v1/events", key="ingest", body=undo)
    wait_for(lambda: trending(running) == [])


@pytest.fixture(params=list(BROKERS))
def servers(request, home):
    """Yield addresses of the machine's own servers, with a new database in them."""
    name = f"groundswell_journey_{uuid.uuid4().hex[:12]}"
    try:
        with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=2) as admin:
            redis.Redis.from_url(VIEW, socket_connect_timeout=2).ping()
            with Connection(BROKERS[request.param], connect_timeout=2) as broker:
                broker.connect()
            admin.execute(f"CREATE DATABASE {name}")
            # The queue names are fixed, so two such tests at once would take each other's wakes.
            admin.execute("SELECT pg_advisory_lock(7215)")
            yield {
                "DATABASE_URL": POSTGRES.rpartition("/")[0] + f"/{name}",
                "BROKER_URL": BROKERS[request.param],
                "VIEW_URL": VIEW,
                "SECRET_KEY": "a key of the journey's own, longer than 32 characters",
            }
            redis.Redis.from_url(VIEW).flushdb()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    except (psycopg.OperationalError, redis.RedisError, OSError) as error:
        pytest.skip(f"no servers for this journey ({error})")


def test_a_click_goes_its_way_on_the_machines_servers(home, servers):
    with RunningOnServers(home, servers) as running:
        walk(running)


@pytest.fixture(scope="module")
def running():
    """Start everything on private servers.

    The first test must find it without any event, and the last test kills it.
    """
    with fresh_home() as home, Running(home, **UNFADING) as running:
        yield running


def test_a_click_goes_its_way_on_private_servers(running):
    walk(running)
    assert "the same digest" in manage(running, "checkpoint", "verify")


def test_a_click_trends_and_still_does_after_a_stop_and_a_start(running):
    assert running.url in running.said
    assert running.keys["read"] in running.said
    clicks = events(["ana", "ben", "eva"], "story-1")  # of several: one in a hundred lists nothing (CANARY_SHARE)
    assert call(running, "/api/v1/events", key="ingest", body=clicks)[1]["accepted"] == 3
    wait_for(lambda: trending(running) == ["story-1"])
    assert running.execute("SELECT count(*) FROM auth_user WHERE is_superuser") == [(1,)]
    said = running.stop()
    assert running.process.returncode == 0
    assert "Stopped" in said
    assert find_orphans(running.home.path) == []
    running.start()
    wait_for(lambda: trending(running) == ["story-1"])


class Feeder(threading.Thread):
    """Sends clicks until it is stopped.

    It repeats each batch, with its ids, until the batch is acknowledged.
    """

    def __init__(self, running):
        super().__init__()
        self._running, self._is_over = running, threading.Event()
        self.n_acknowledged = self.n_retries = 0

    def run(self):
        number = 0
        while not self._is_over.is_set():
            actors = [f"reader-{(7 * number + offset) % 400}" for offset in range(40)]
            body = events(actors, f"story-{number % 9}")
            while call(self._running, "/api/v1/events", key="ingest", body=body)[0] != 202:
                self.n_retries += 1
                time.sleep(0.05)
            self.n_acknowledged += 40
            number += 1

    def stop(self):
        self._is_over.set()
        self.join()


def test_whatever_is_killed_every_acknowledged_event_counts_once(running):
    n_before = count_events(running)
    feeder = Feeder(running)
    feeder.start()
    try:
        for program in ("celery", "granian", "valkey-server", "postgres", "celery", "postgres"):
            before = feeder.n_acknowledged
            wait_for(lambda before=before: feeder.n_acknowledged > before + 200)
            os.kill(wait_for(lambda program=program: running.pid_of(program)), signal.SIGKILL)
        before = feeder.n_acknowledged
        wait_for(lambda: feeder.n_acknowledged > before + 200)
    finally:
        feeder.stop()

    n_events = n_before + feeder.n_acknowledged
    wait_for(lambda: running.execute("SELECT n_events FROM recommender_learner") == [(n_events,)])
    assert running.execute("SELECT count(*), count(DISTINCT event_key) FROM recommender_event") == [
        (n_events, n_events)
    ]
    assert feeder.n_retries > 0  # the kills were felt
    wait_for(lambda: trending(running))  # published a moment after it is learned
    verified = wait_for(lambda: _verified(running))
    assert "the same digest" in verified


def count_events(running):
    ((n,),) = running.execute("SELECT count(*) FROM recommender_event")
    return n


def _verified(running):
    """Return the output of `checkpoint verify`.

    Return None while the newest step is in no checkpoint.
    """
    (behind,) = running.execute(
        "SELECT l.step - c.step FROM recommender_learner l JOIN recommender_checkpoint c ON c.id = l.checkpoint_id"
    )[0]
    return None if behind else manage(running, "checkpoint", "verify")


def test_killed_children_are_replaced_and_a_killed_supervisor_leaves_nobody(running):
    for program in ("granian", "worker", "beat", "valkey-server", "postgres"):
        os.kill(wait_for(lambda program=program: running.pid_of(program)), signal.SIGKILL)
    clicks = events(["ana", "ben", "eva"], "last-story")
    wait_for(lambda: call(running, "/api/v1/events", key="ingest", body=clicks)[0] == 202)
    wait_for(lambda: "last-story" in (trending(running) or []))  # who failed often pauses long
    running.kill()
    wait_for(lambda: not find_orphans(running.home.path))
    assert call(running, "/health/live", key="read")[0] == 0
