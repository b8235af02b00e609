"""Supervisors that tests run.

`Held` runs only the two servers. `Running` runs everything that `make run` starts. Each is a process like a person's,
on a home of its own, so a test can interrupt, kill and restart it.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from config.home import Home
from config.processes import find_orphans
from tests.help.patience import PATIENCE_S

BASE_DIR = Path(__file__).resolve().parents[2]
_OURS = {"DATABASE_URL", "BROKER_URL", "VIEW_URL", "SECRET_KEY", "GROUNDSWELL_HOME", "PORT", "DEMO", "SPEED"}


@contextlib.contextmanager
def fresh_home() -> Iterator[Home]:
    """Yield a home that is not made yet.

    It is in a folder with a short name that every user can pass through.
    """
    folder = Path(tempfile.mkdtemp(prefix="gs-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield Home(folder / "home")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_supervisor(*arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start a supervisor that does not know this session's servers.

    Its standard error goes to its output.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "config.supervisor", *arguments],
        cwd=BASE_DIR,
        env={name: value for name, value in os.environ.items() if name not in _OURS} | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


class _Supervised:
    process: subprocess.Popen[str]

    def __init__(self, home: Home) -> None:
        self.home = home

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Ask the supervisor to stop, and return the rest of its output."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        return said

    def kill(self) -> None:
        """Kill the supervisor as kill -9 does, so that it cannot stop anything."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def execute(self, query: str) -> list[tuple]:
        with psycopg.connect(self.home.database_url, autocommit=True, connect_timeout=int(PATIENCE_S)) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def pid_of(self, program: str) -> int | None:
        """Return the oldest living process of this home that runs this program."""
        found = []
        for pid in find_orphans(self.home.path):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
                if program in command:
                    found.append((int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]), pid))
        return min(found)[1] if found else None


class Held(_Supervised):
    """`python -m config.supervisor hold HOME`: PostgreSQL and Valkey."""

    def __enter__(self) -> "Held":
        self.process = start_supervisor("hold", str(self.home.path))
        assert self.process.stdout
        self.said = self.process.stdout.readline()
        while self.said and not self.said.startswith("{"):
            self.said += (line := self.process.stdout.readline())
            if line.startswith("{") or not line:
                break
        assert '{"' in self.said, self.said
        return self


class Running(_Supervised):
    """All of `make run` except the demo."""

    def __init__(self, home: Home, **env: str) -> None:
        super().__init__(home)
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port = trial.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {"DEMO": "0", "PORT": str(self.port), "GROUNDSWELL_HOME": str(home.path)} | env

    def __enter__(self) -> "Running":
        self.start()
        return self

    def start(self) -> None:
        self.process = start_supervisor("run", **self._env)
        assert self.process.stdout
        self.said = ""
        while "Ctrl-C stops everything." not in self.said:
            line = self.process.stdout.readline()
            assert line, f"the supervisor ended while starting:\n{self.said}"
            self.said += line

    @property
    def keys(self) -> dict[str, str]:
        return json.loads((self.home.path / "credentials.json").read_text())["keys"]
