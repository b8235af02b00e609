"""Tests of `make run` as you meet it.

Everything is started, watched and stopped. If it cannot start, it explains why.
"""

import contextlib
import json
import os
import signal
import socket
import urllib.error
import urllib.request

import pytest

from config.processes import find_orphans
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.supervised import Running, fresh_home, start_supervisor


@pytest.fixture
def home():
    with fresh_home() as home:
        yield home


def call(running, path, *, key=None, body=None):
    """Return the JSON of an answer, or None if no server answers."""
    request = urllib.request.Request(running.url + path, data=body and json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {running.keys[key]}")
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())
    return None


def trending(running):
    answer = call(running, "/api/v1/trending", key="read")
    return [entry["item"] for entry in answer["items"]] if answer else []


def clicks(item):
    """Make several clicks, because one actor in a hundred counts for no list.

    Such an actor is on the secret panel (CANARY_SHARE).
    """
    return {"events": [{"actor": actor, "item": item} for actor in ("ana", "ben", "eva")]}


@pytest.fixture(scope="module")
def running():
    """Everything, on a home of its own; each test leaves it running or dead."""
    with fresh_home() as home, Running(home) as running:
        yield running


def test_a_click_trends_and_still_does_after_a_stop_and_a_start(running):
    assert running.url in running.said
    assert running.keys["read"] in running.said
    accepted = call(running, "/api/v1/events", key="ingest", body=clicks("story-1"))
    assert accepted["accepted"] == 3
    assert wait_for(lambda: trending(running)) == ["story-1"]
    assert running.execute("SELECT count(*) FROM auth_user WHERE is_superuser") == [(1,)]
    said = running.stop()
    assert running.process.returncode == 0
    assert "Stopped" in said
    assert find_orphans(running.home.path) == []
    running.start()
    assert wait_for(lambda: trending(running)) == ["story-1"]


def test_killed_children_are_replaced_and_a_killed_supervisor_leaves_nobody(running):
    for program in ("granian", "worker", "beat", "valkey-server", "postgres"):
        os.kill(wait_for(lambda program=program: running.pid_of(program)), signal.SIGKILL)
    wait_for(lambda: call(running, "/api/v1/events", key="ingest", body=clicks("story-2")))
    wait_for(lambda: "story-2" in trending(running))  # who failed often pauses long
    running.kill()
    wait_for(lambda: not find_orphans(running.home.path))
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(running.url, timeout=PATIENCE_S)


def test_a_port_in_use_is_named_with_a_way_out(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = start_supervisor("run", PORT=port, DEMO="0", GROUNDSWELL_HOME=str(home.path))
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert f"Port {port} is in use by another program" in said
    assert "PORT=8001 make run" in said
    assert find_orphans(home.path) == []


def test_a_port_that_is_none_is_refused(home):
    process = start_supervisor("run", PORT="http", DEMO="0", GROUNDSWELL_HOME=str(home.path))
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "PORT=http is not a port" in said


def test_a_named_database_asks_for_a_secret_key(home):
    process = start_supervisor("run", DATABASE_URL="postgres://nobody@127.0.0.1:1/none")
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "SECRET_KEY must be set" in said


def test_a_command_gets_addresses_and_its_exit_code_is_ours():
    command = "import os, sys; print(os.environ['DATABASE_URL'], os.environ['VIEW_URL']); sys.exit(7)"
    process = start_supervisor("exec", "--", "python3", "-c", command)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 7
    assert "postgres://postgres@%2Ftmp" in said
    assert "unix:///tmp/" in said
