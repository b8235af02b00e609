"""Start the whole of Groundswell for one bench, on its own home and database.

    Rig.start():  scratch home, port, database ──> python -m config.supervisor run ──> /health/ready ──> a key

The supervisor starts web, worker and beat exactly as `make run` does. It also starts Valkey and a private PostgreSQL,
which is durable as for real data. If DATABASE_URL names a server, a scratch database is made there instead. Home and
database are removed afterwards.

The supervisor is a process of its own because this package may not import `config`. The environment tells it where to
work, as an operator would. All processes that it starts end with it. On Linux it ends with this process.
"""

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from recommender.api import api_keys
from recommender.lab.bench.http_load import LoadPlan, Result, run
from recommender.lab.client import Client

READY_WITHIN_S = 120.0
STOP_WITHIN_S = 45.0
_PR_SET_PDEATHSIG = 1
_SHOW_DATABASE = "import json; from django.conf import settings as s; print(json.dumps(s.DATABASES['default']))"


class CannotMeasure(Exception):
    """The bench cannot go on. The message says why."""


@dataclass
class Rig:
    """A running server.

    has_database: whether Django's connection in this process leads to the server's database.
    """

    url: str
    key: str
    has_database: bool
    seed: int
    _n_plans: int = field(default=0, init=False)

    def client(self) -> Client:
        return Client(self.url, key=self.key)

    def load(
        self,
        *,
        seconds: float,
        connections: int,
        batch: int = 0,
        path: str = "/api/v1/events",
        paths: Sequence[str] = (),
        rate: float | None = None,
    ) -> LoadPlan:
        """Plan a load on this server, with ids that no plan had before; see `LoadPlan`."""
        self._n_plans += 1
        parts = urlsplit(self.url)
        return LoadPlan(
            host=parts.hostname or "",
            port=parts.port or 80,
            key=self.key,
            seconds=seconds,
            connections=connections,
            path=path,
            paths=list(paths),
            batch=batch,
            rate=rate,
            seed=self.seed,
            label=(int(time.time()) + self._n_plans * 10_007) * 4096 % 2**32,
        )

    def run(self, **plan: Any) -> Result:
        """Plan a load and send it. Raises CannotMeasure if the server answers with errors."""
        result = run(self.load(**plan))
        wrong = {status: n for status, n in result.by_status.items() if not 200 <= status < 300}
        if wrong:
            raise CannotMeasure(f"the server answered {wrong} (status: requests). Status 0 is a lost connection.")
        return result

    def is_listed_up_to(self, at: float, *, within_s: float = 120.0) -> float:
        """Wait until everything received before `at` (unix seconds) is in the lists.

        Returns the time at which that was so.
        """
        client = self.client()
        stop_at = time.time() + within_s
        try:
            while time.time() < stop_at:
                head = client.get("/api/v1/trending?limit=1")
                if time.time() - head["age_ms"] / 1000 >= at:
                    return time.time()
                time.sleep(0.01)
        finally:
            client.close()
        raise CannotMeasure(f"the events that were sent are not in the lists after {within_s:.0f} s")


@contextlib.contextmanager
def start(*, seed: int, **settings_of_it: str) -> Iterator[Rig]:
    """Start a rig with these settings.

    Raises CannotMeasure with the end of the log if it does not come up.
    """
    home = Path(tempfile.mkdtemp(prefix="groundswell-bench-", dir="/tmp"))
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, home, ignore_errors=True)
        port = _free_port()
        env = {name: value for name, value in os.environ.items() if name not in ("BROKER_URL", "VIEW_URL")}
        env |= {"GROUNDSWELL_HOME": str(home), "PORT": str(port), "DEMO": "0", "PYTHONUNBUFFERED": "1"}
        env |= settings_of_it
        if "DATABASE_URL" in env:
            env["DATABASE_URL"] = undo.enter_context(_scratch_database(env["DATABASE_URL"]))
        log = home.with_name(f"{home.name}.log")
        undo.callback(log.unlink, missing_ok=True)
        with log.open("wb") as out:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "config.supervisor", "run"],
                cwd=settings.BASE_DIR,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # this process handles Ctrl-C and stops the supervisor below
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (this process has one thread)
            )
        undo.callback(_stop, supervisor)
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, supervisor, log)
        undo.enter_context(_connected_to(_database_of(env)))
        _, key = api_keys.make_key(name="bench", scopes=["ingest", "read", "admin"])
        yield Rig(url, key, has_database=True, seed=seed)


@contextlib.contextmanager
def start_servers() -> Iterator[None]:
    """Start only a private PostgreSQL and Valkey, and migrate.

    Django's connection of this process leads to them for the block, and so does VIEW_URL. Raises CannotMeasure.
    """
    home = Path(tempfile.mkdtemp(prefix="groundswell-bench-", dir="/tmp"))
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, home, ignore_errors=True)
        env = {name: value for name, value in os.environ.items() if name not in ("BROKER_URL", "VIEW_URL")}
        if "DATABASE_URL" in env:
            env["DATABASE_URL"] = undo.enter_context(_scratch_database(env["DATABASE_URL"]))
        holder = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "config.supervisor", "hold", str(home)],
            cwd=settings.BASE_DIR,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (this process has one thread)
        )
        undo.callback(_stop, holder)
        line = holder.stdout.readline() if holder.stdout else b""
        if not line:
            raise CannotMeasure("the private servers of the bench did not start. Their reason is printed above.")
        addresses = json.loads(line)
        undo.enter_context(_connected_to(_database_of(env | addresses)))
        undo.callback(setattr, settings, "VIEW_URL", settings.VIEW_URL)
        settings.VIEW_URL = addresses["VIEW_URL"]
        call_command("migrate", verbosity=0)
        yield


def _wait_until_ready(url: str, supervisor: subprocess.Popen[bytes], log: Path) -> None:
    stop_at = time.monotonic() + READY_WITHIN_S
    client = Client(url, timeout_s=10)
    while time.monotonic() < stop_at and supervisor.poll() is None:
        with contextlib.suppress(Exception):  # refused, cut off, half up: all mean "not yet"
            if client.request("GET", "/health/ready").status == 200:
                client.close()
                return
        time.sleep(0.1)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise CannotMeasure(f"Groundswell did not start for the bench. Its log ends with:\n{end}")


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.send_signal(signal.SIGINT)
    try:
        supervisor.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _database_of(env: dict[str, str]) -> dict[str, object]:
    """Return the database in the server's settings."""
    known = env | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _SHOW_DATABASE],
        cwd=settings.BASE_DIR,
        env=known,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return dict(json.loads(done.stdout))


@contextlib.contextmanager
def _connected_to(database: dict[str, object]) -> Iterator[None]:
    """Point Django's connection of this process to a database for a while."""
    ours: dict[str, Any] = {
        name: database[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT") if name in database
    }
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(ours)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


@contextlib.contextmanager
def _scratch_database(url: str) -> Iterator[str]:
    """Make a database on the server of `url`, yield its address, and drop it later."""
    name = f"groundswell_bench_{secrets.token_hex(4)}"
    address = url.replace("postgres://", "postgresql://", 1)
    try:
        with psycopg.connect(address, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
    except psycopg.Error as error:
        raise CannotMeasure(
            f"the user of DATABASE_URL must be allowed to make a scratch database for the bench: {error}"
        ) from None
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(address, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
