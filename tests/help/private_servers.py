"""The servers of the test session: a private PostgreSQL and Valkey, unless DATABASE_URL and the like name others.

A pytest plugin rather than part of conftest.py, because the addresses must be in the environment before Django's
settings are imported, and pytest-django imports them before any conftest.py (pyproject.toml: `-p`).

Each worker of pytest-xdist has servers of its own, not a database each on one server: the log is read below the
oldest transaction that still writes anywhere on the server (recommender/log/event_log.py), so the transaction around
one worker's test would hold up the learner in another's. The servers end when their standard input closes, so also
when the process that wanted them is killed.
"""

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BASE_DIR = Path(__file__).resolve().parents[2]
# Set beside the addresses of servers that are thrown away afterwards: tests may empty them unasked.
PRIVATE = "GROUNDSWELL_TEST_SERVERS_ARE_PRIVATE"
_ADDRESSES = {"DATABASE_URL", "BROKER_URL", "VIEW_URL"}

_holder: subprocess.Popen[str] | None = None


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config):
    named = sorted(_ADDRESSES & os.environ.keys())
    has_workers = getattr(early_config.known_args_namespace, "numprocesses", None)
    if "PYTEST_XDIST_WORKER" in os.environ or not has_workers:
        _start_servers()
    elif named:
        raise pytest.UsageError(
            f"{' and '.join(named)} named: workers side by side would disturb each other there. "
            'Run the tests in one process: make test ARGS="-n 0"'
        )
    return (yield)


def pytest_unconfigure():
    _stop_servers()


def pytest_report_header():
    if not _ADDRESSES & os.environ.keys():
        return "servers: private, every worker its own"
    private = os.environ.get(PRIVATE, "").split()
    return [f"{name}: {'private' if name in private else 'named'}" for name in sorted(_ADDRESSES)]


def _start_servers() -> None:
    global _holder  # noqa: PLW0603 - one a process, by nature
    if os.environ.keys() >= _ADDRESSES:
        if len(os.environ.get("SECRET_KEY", "")) < 32:
            os.environ["SECRET_KEY"] = "a secret key for tests only, of at least 32 characters"
        return
    _holder = subprocess.Popen(
        [sys.executable, "-m", "config.supervisor", "hold"],
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for pytest, which stops them at its end
    )
    atexit.register(_stop_servers)
    line = _holder.stdout.readline() if _holder.stdout else ""
    if not line:
        _stop_servers()
        raise pytest.UsageError("The private PostgreSQL and Valkey did not start; the lines above say why.")
    addresses = json.loads(line)
    os.environ.update(addresses)
    os.environ[PRIVATE] = " ".join(sorted(_ADDRESSES & addresses.keys()))


def _stop_servers() -> None:
    if _holder is None or _holder.returncode is not None:
        return
    if _holder.stdin and _holder.stdout:
        _holder.stdin.close()
        _holder.wait()
        _holder.stdout.close()
