"""A session behind a pooler is our own, or the start is refused."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from recommender import locks
from recommender.connections import database_sessions
from recommender.log import event_log
from recommender.models import Event
from tests.help.clusters import Cluster, django_at, made, migrate
from tests.help.log_rows import clicks
from tests.help.patience import PATIENCE_S, wait_for

BASE_DIR = Path(__file__).resolve().parents[3]
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed: apt-get install pgbouncer"),
]


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@pytest.fixture(scope="module")
def cluster():
    with made() as cluster:
        yield cluster


@pytest.fixture
def pooler(cluster):
    """Yield a function that starts a pgbouncer before the server, and returns its URL."""
    running = []

    def start(*, mode: str, ignored: str = "options", size: int = 5, robin: int = 0) -> str:
        port = free_port()
        folder = cluster.folder(f"pooler-{port}")
        file = folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\ngroundswell = host={cluster.sockets} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
            f"default_pool_size = {size}\nserver_round_robin = {robin}\nignore_startup_parameters = {ignored}\n"
        )
        file.chmod(0o644)
        running.append(
            subprocess.Popen(
                [PGBOUNCER, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **cluster.user
            )
        )
        url = f"postgres://postgres@127.0.0.1:{port}/groundswell"
        wait_for(lambda: _answers(port))
        return url

    yield start
    for process in running:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def shown(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("robin", [0, 1])
def test_a_pooler_in_transaction_mode_is_refused_with_the_remedy(pooler, size, robin):
    with django_at(pooler(mode="transaction", size=size, robin=robin)):
        for _ in range(2):  # and at every later connection
            with pytest.raises(database_sessions.UnsuitablePooler, match="pool_mode = session"):
                connection.ensure_connection()
            assert connection.connection is None


def test_a_pooler_in_session_mode_works_with_the_settings_it_dropped(pooler):
    with django_at(pooler(mode="session"), options="-c search_path=public,extra"):
        migrate()
        assert (shown("statement_timeout"), shown("timezone")) == ("1min", "UTC")
        assert shown("search_path") == "public,extra"
        event_log.append(clicks(3))
        event_log.append(clicks(3))
        assert Event.objects.count() == 6
        with locks.hold(7) as is_ours:
            assert is_ours
        connection.close()
        assert shown("statement_timeout") == "1min"  # after another client's session was reset


def test_a_pool_in_session_mode_that_is_full_does_not_keep_a_connection_waiting(pooler, caplog, monkeypatch):
    monkeypatch.setattr(database_sessions, "WAIT_S", 1)  # a pooler itself lets a client wait for 120 s
    with django_at(pooler(mode="session", size=1)):
        assert shown("statement_timeout") == "1min"
        assert "a second client got none" in caplog.text
        assert not database_sessions._tried.has_sessions  # the next connection tries again


def test_a_server_without_a_pooler_is_not_tried(cluster: Cluster):
    with django_at(cluster.url):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database_sessions, "_are_sessions_shared", None)
            connection.ensure_connection()
        assert shown("statement_timeout") == "1min"


@pytest.mark.parametrize(
    ("mode", "ignored", "said"),
    [("transaction", "options", "transaction mode"), ("session", "extra_float_digits", "ignore_startup_parameters")],
)
@pytest.mark.parametrize(
    "program", ["from config.wsgi import application", "from config.command_line import main; main()"]
)
def test_a_process_does_not_start_with_a_pooler_that_does_not_suit_it(pooler, mode, ignored, said, program):
    env = os.environ | {"DATABASE_URL": pooler(mode=mode, ignored=ignored), "SECRET_KEY": "x" * 32}
    done = subprocess.run(
        [sys.executable, "-c", program, "showmigrations"],
        cwd=BASE_DIR,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_web_process_starts_while_no_database_answers():
    env = os.environ | {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "SECRET_KEY": "x" * 32}
    done = subprocess.run(
        [sys.executable, "-c", "from config.wsgi import application"], cwd=BASE_DIR, env=env, check=False
    )
    assert done.returncode == 0


def test_psycopg_reports_the_process_of_a_server_as_it_is(cluster):
    """The pooler is found by this number."""
    with psycopg.connect(cluster.url) as session:
        assert session.execute("SELECT pg_backend_pid()").fetchone() == (session.info.backend_pid,)
