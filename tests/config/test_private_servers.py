"""Tests of the private PostgreSQL and Valkey.

They are started, stopped, killed and found again.
"""

import os
import pwd
import shutil
import signal
import stat
from pathlib import Path

import pytest
import redis

from config.embedded import PostgreSQL
from config.home import ServiceAccount
from config.processes import find_orphans
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.supervised import Held, fresh_home, start_supervisor

OTHER_POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
OTHER_VALKEY = shutil.which("valkey-server") or shutil.which("redis-server")


@pytest.fixture
def home():
    with fresh_home() as home:
        yield home


def view_of(home):
    return redis.Redis.from_url(home.view_url)


def test_what_was_written_is_there_after_a_stop_and_a_start(home):
    with Held(home) as held, view_of(home) as view:
        held.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        view.set("kept", "42")
    assert find_orphans(home.path) == []
    with Held(home) as held, view_of(home) as view:
        assert held.execute("SELECT answer FROM kept") == [(42,)]
        assert view.get("kept") == b"42"


def test_the_servers_stop_when_the_program_that_wanted_them_is_gone(home):
    with Held(home) as held:
        held.process.stdin.close()
        held.process.stdin = None
        assert held.process.wait(PATIENCE_S) == 0
        assert find_orphans(home.path) == []


@pytest.mark.parametrize("program", ["postgres", "valkey-server"])
def test_a_killed_server_is_started_again_with_its_data(home, program):
    with Held(home) as held, view_of(home) as view:
        held.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        view.set("kept", "42")
        os.kill(first := held.pid_of(program), signal.SIGKILL)

        def answer():
            try:
                return held.execute("SELECT answer FROM kept")[0][0], int(view.get("kept"))
            except Exception:  # any error that a client meets while its server is away
                return None

        assert wait_for(answer) == (42, 42)
        assert held.pid_of(program) != first


def test_nothing_outlives_a_killed_supervisor(home):
    with Held(home) as held:
        held.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        held.kill()
        wait_for(lambda: not find_orphans(home.path))
    with Held(home) as held:
        assert held.execute("SELECT answer FROM kept") == [(42,)]


def test_servers_left_by_an_earlier_run_are_ended_at_the_next_start(home):
    with Held(home) as held:
        held.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        left = [held.pid_of("postgres"), held.pid_of("valkey-server")]
        for pid in left:  # stopped processes do not notice the end of their supervisor
            os.kill(pid, signal.SIGSTOP)
        held.kill()
        assert set(left) <= set(find_orphans(home.path))
    with Held(home) as held:
        assert "left behind" in held.said
        assert held.execute("SELECT answer FROM kept") == [(42,)]
        assert not set(left) & set(find_orphans(home.path))


def test_a_process_of_somebody_else_is_no_orphan_of_ours(home):
    with fresh_home() as other, Held(other):
        assert find_orphans(home.path) == []


def test_a_second_supervisor_on_the_same_home_is_refused_by_name(home):
    with Held(home) as held:
        second = start_supervisor("hold", str(home.path))
        said, _ = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 1
        assert f"already running on {home.path} (process {held.process.pid})" in said
        assert "GROUNDSWELL_HOME" in said
        assert held.execute("SELECT 1") == [(1,)]


def test_data_of_another_postgresql_version_is_left_alone_with_advice(home):
    with Held(home):
        pass
    version = PostgreSQL(home=home, account=None).data / "PG_VERSION"
    version.write_text("12\n")
    second = start_supervisor("hold", str(home.path))
    said, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1
    assert "made by PostgreSQL 12" in said
    assert "PG_BIN_DIR" in said


def test_an_interrupted_first_start_leaves_nothing_half_made(home):
    home.make()
    data = PostgreSQL(home=home, account=None).data
    home.make_for(ServiceAccount.of_services(), data.parent)
    (data.parent / "data.new").mkdir()
    (data.parent / "data.new" / "PG_VERSION").write_text("18\n")
    with Held(home) as held:
        assert held.execute("SELECT 1") == [(1,)]


def test_other_users_cannot_reach_the_servers_or_read_the_home(home):
    with Held(home):
        home.secret_key()
        for path in (home.sockets, home.logs, home.path / "postgres", home.path / "valkey"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        assert stat.S_IMODE(home.path.stat().st_mode) & 0o066 == 0
        assert stat.S_IMODE((home.path / "secret_key").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its rights")
def test_as_root_the_servers_run_as_nobody(home):
    nobody = pwd.getpwnam("nobody").pw_uid
    with Held(home) as held:
        for program in ("postgres", "valkey-server"):
            assert os.stat(f"/proc/{held.pid_of(program)}").st_uid == nobody


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its rights")
def test_programs_that_nobody_cannot_reach_are_copied_to_where_it_can(home, monkeypatch):
    home.make()
    account = ServiceAccount.of_services()
    home.make_for(account, home.sockets)
    monkeypatch.setattr("config.embedded._can_run", lambda program, account: False)
    binaries = PostgreSQL(home=home, account=account)._binaries()
    assert binaries.is_relative_to(home.path)
    assert (binaries / "initdb").exists()


@pytest.mark.skipif(not OTHER_POSTGRESQL or not OTHER_VALKEY, reason="this machine has no other PostgreSQL and Redis")
def test_other_programs_are_used_when_they_are_named(home, monkeypatch):
    monkeypatch.setenv("PG_BIN_DIR", str(OTHER_POSTGRESQL[-1]))
    monkeypatch.setenv("VALKEY_BIN", str(OTHER_VALKEY))
    with Held(home) as held, view_of(home) as view:
        assert held.execute("SHOW server_version")[0][0].startswith(OTHER_POSTGRESQL[-1].parent.name)
        assert view.ping()
    assert find_orphans(home.path) == []


def test_a_named_program_that_is_none_is_refused(home, monkeypatch):
    monkeypatch.setenv("PG_BIN_DIR", "/nowhere")
    second = start_supervisor("hold", str(home.path))
    said, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1
    assert "PG_BIN_DIR does not lead to a program" in said
