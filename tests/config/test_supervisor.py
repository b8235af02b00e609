"""Tests of `make run` as you meet it.

Everything is started, watched and stopped. If it cannot start, it explains why.
"""

import socket

import pytest

from config.processes import find_orphans
from tests.help.patience import PATIENCE_S
from tests.help.supervised import fresh_home, start_supervisor


@pytest.fixture
def home():
    with fresh_home() as home:
        yield home


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
