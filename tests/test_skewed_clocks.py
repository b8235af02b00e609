"""Workers and web servers learn and serve with any clock of their machines.

Each test runs beat with the right time of day, a learner whose clock is off, and a web server whose clock is off the
other way. Only the database's clock may decide what is due, how old a list is, and which events are from the future.
"""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime

import psycopg
import pytest
from kombu import Connection

from config.roster import answers
from recommender.api import api_keys
from recommender.log import event_log
from recommender.models import Learner
from tests.help.log_rows import clicks
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.scripted_server import closed_port
from tests.help.skewed_clock import build, skewed
from tests.help.supervised import BASE_DIR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("view_store", "empty_log")]

RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
SECRETS = {scope: f"key-of-a-skewed-{scope}-client" for scope in ("ingest", "read")}
SKEWS_S = [0.4, -0.4, 600.0, -600.0, 7200.0, -7200.0]
CELERY = ("celery", "-A", "config.celery")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("skewed"))


@pytest.fixture
def broker_env(request, server_env):
    """Return the environment with the broker of the test's case."""
    if request.param == "valkey":
        yield server_env
        return
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(Connection(RABBITMQ, connect_timeout=2)).connect()
            # The queue names are fixed, so two such tests at once would take each other's wakes.
            held.enter_context(psycopg.connect(POSTGRES, autocommit=True, connect_timeout=2)).execute(
                "SELECT pg_advisory_lock(7215)"
            )
        except (psycopg.OperationalError, OSError) as error:
            pytest.skip(f"no RabbitMQ here ({error})")
        yield server_env | {"BROKER_URL": RABBITMQ}


@contextlib.contextmanager
def running(env, *argv):
    """Run a module of Python until the block ends."""
    process = subprocess.Popen([sys.executable, "-m", *argv], cwd=BASE_DIR, env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def call(port, path, *, key, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {SECRETS[key]}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())


@pytest.mark.parametrize(
    ("broker_env", "worker_s"),
    [*(("valkey", skew) for skew in SKEWS_S), ("rabbitmq", 0.4), ("rabbitmq", -7200.0)],
    indirect=["broker_env"],
)
def test_all_learn_and_serve_with_any_clock(broker_env, worker_s, library, tmp_path):
    free_port = closed_port()
    for scope, secret in SECRETS.items():
        api_keys.make_key(name=scope, scopes=[scope], secret=secret)
    worker = (*CELERY, "worker", "-P", "solo", "-Q", "learn-0", "-n", "skewed@%h", "--without-gossip")
    beat = (*CELERY, "beat", "--schedule", str(tmp_path / "beat"), "--pidfile", "", "--loglevel", "WARNING")
    web = ("granian", "--interface", "wsgi", "--workers", "1", "--blocking-threads", "2", "--no-ws")
    with (
        running(broker_env, *beat),
        running(skewed(broker_env, library, worker_s), *worker, "--without-mingle", "--loglevel", "WARNING"),
        running(skewed(broker_env, library, -worker_s), *web, "--port", str(free_port), "config.wsgi:application"),
    ):
        # only beat wakes the learner for events that did not come through a web server
        event_log.append(clicks(5))
        wait_for(lambda: Learner.objects.filter(n_events=5).exists())

        wait_for(lambda: answers(free_port, "/health/live"))
        at = time.time()
        sent = [("ana", at), ("ben", at + 240), ("eva", at + 400), ("mal", at - 60 * 86_400)]
        body = {"events": [{"actor": actor, "item": "story", "occurred_at": when} for actor, when in sent]}
        done = call(free_port, "events", key="ingest", body=body)
        assert done["accepted"] == 2
        assert [each["code"] for each in done["rejected"]] == ["occurred_in_future", "occurred_too_long_ago"]
        wait_for(lambda: Learner.objects.filter(n_events=7).exists())

        def is_listed_and_new():
            answer = call(free_port, "trending", key="read")
            ago_s = time.time() - datetime.fromisoformat(answer["as_of"]).timestamp() if "as_of" in answer else None
            return answer.get("items") and abs(ago_s - answer["age_ms"] / 1000) < 0.3 and answer["age_ms"] < 60_000

        wait_for(is_listed_and_new)
