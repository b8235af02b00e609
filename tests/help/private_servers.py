"""The servers of the test session.

They are a private PostgreSQL and Valkey, unless DATABASE_URL, BROKER_URL and VIEW_URL name others.

This is a pytest plugin and not a part of conftest.py. The addresses must be in the environment before Django's
settings are imported. pytest-django imports the settings before any conftest.py (pyproject.toml: `-p`).

Each worker of pytest-xdist has servers of its own. Separate databases on one server would not do. The learner reads
the log only below the oldest transaction that still writes anywhere on the server (recommender/log/event_log.py). So
the transaction around one worker's test would hold up the learner in another worker's test. The servers end when
their standard input closes, so also when the process that started them is killed.
"""

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BASE_DIR = Path(__file__).resolve().parents[2]
# Lists the variables whose servers are thrown away afterwards. Tests may empty those servers without asking.
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
            f"Several test workers would disturb each other on the servers named by {' and '.join(named)}. "
            'Unset these variables, or run the tests in one process: make test ARGS="-n 0"'
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
        start_new_session=True,  # Ctrl-C is for pytest, which stops the servers at its end
    )
    atexit.register(_stop_servers)
    line = _holder.stdout.readline() if _holder.stdout else ""
    if not line:
        _stop_servers()
        raise pytest.UsageError("The private PostgreSQL and Valkey did not start. The lines above show the reason.")
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
