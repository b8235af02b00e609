"""What `make run` starts besides the two servers: each child's command, and the lines printed when all are
up."""

import contextlib
import errno
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.home import CannotStart, Home
from config.processes import MARK, Child

BASE_DIR = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
DEFAULT_PORT = 8000
_PORTS_TRIED = 20
_MAX_PACE = 10  # of recommender.management.commands.demo


def _child(home: Home, name: str, *argv: str, **more: Any) -> Child:
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "GROUNDSWELL_HOME": str(home.path),
        "PROMETHEUS_MULTIPROC_DIR": str(home.metrics),
        "PYTHONUNBUFFERED": "1",
        MARK: str(home.path),
        **more.pop("env", {}),
    }
    # By module, not by script: in a checkout that was moved the scripts' first line leads nowhere.
    argv = (sys.executable, "-m", *argv)
    return Child(name=name, argv=argv, env=env, log=home.logs / f"{name}.log", cwd=BASE_DIR, **more)


def migrate(home: Home) -> Child:
    return _child(home, "migrate", "config.firstrun")


def compiler(home: Home) -> Child:
    return _child(home, "compiler", "recommender.core.warmup")


def web(home: Home, port: int) -> Child:
    # Four threads a worker: with one, a read waits behind every batch of events (`manage.py bench` measures both).
    return _child(
        home,
        "web",
        "granian",
        *("--interface", "wsgi", "--workers", "2", "--blocking-threads", "4", "--no-ws"),
        *(
            "--respawn-failed-workers",
            "--workers-kill-timeout",
            "5",
            "--host",
            HOST,
            "--port",
            str(port),
            "config.wsgi:application",
        ),
        is_ready=lambda _child: answers(port, "/health/live"),
    )


def workers(home: Home, *, has_shadow: bool = False) -> list[Child]:
    """One process a shard, because a shard's Pipeline lives in the process that learns it; and one that keeps house,
    because a revert takes minutes in which learning goes on. `has_shadow`: unless SHADOW says otherwise."""
    env = {"SHADOW": os.environ.get("SHADOW", "true")} if has_shadow else {}
    shards = range(int(os.environ.get("SHARDS", "1")))
    queues = {"worker" if len(shards) == 1 else f"worker-{shard}": f"learn-{shard}" for shard in shards}
    return [
        _child(
            home,
            name,
            *("celery", "-A", "config.celery", "worker", "-n", f"{name}@%h", "-P", "solo", "-Q", queue),
            *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
            stop_within_s=20.0,
            env=env,
        )
        for name, queue in (queues | {"keeper": "maintenance"}).items()
    ]


def beat(home: Home) -> Child:
    schedule = home.path / "beat-schedule"
    return _child(
        home,
        "beat",
        *("celery", "-A", "config.celery", "beat", "--schedule", str(schedule), "--pidfile", ""),
        *("--loglevel", "WARNING"),
    )


def demo(home: Home, port: int, keys: dict[str, str], pace: float) -> Child:
    """The keys go by the environment: other users can read a command line."""
    argv = ("django", "demo", "--url", f"http://{HOST}:{port}", "--pace", f"{pace:g}")
    return _child(home, "demo", *argv, env={"GROUNDSWELL_KEY": keys["ingest"], "GROUNDSWELL_READ_KEY": keys["read"]})


def demo_pace() -> float | None:
    """SPEED, 1 where it is not set; None where DEMO=0 says that there is no demo."""
    if os.environ.get("DEMO", "1") == "0":
        return None
    named = os.environ.get("SPEED", "1")
    try:
        pace = float(named)
    except ValueError:
        pace = 0.0
    if not 0 < pace <= _MAX_PACE:
        raise CannotStart(f"SPEED={named} is not a pace of the demo: give a number above 0, at most {_MAX_PACE}.")
    return pace


def answers(port: int, path: str) -> bool:
    """Whether the web server answers 200."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        finally:
            connection.close()
    return False


def claim_port(*, say: Callable[[str], None]) -> socket.socket:
    """PORT, which must be free; without it the first free one from 8000 up. Claimed until the socket is closed: the
    web server shares it and listens only seconds later, and whoever starts in between must not share it too."""
    named = os.environ.get("PORT")
    if named:
        if not named.isdecimal() or not 0 < int(named) < 65_536:
            raise CannotStart(f"PORT={named} is not a port: give a number from 1 to 65535.")
        if problem := _problem_with(int(named)):
            raise CannotStart(f"Port {named} {problem}. Choose another: PORT=8001 make run.")
        return _claim(int(named))
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED):
        problem = _problem_with(port)
        if not problem:
            return _claim(port)
        say(f"port {port} {problem}; trying {port + 1}")
    raise CannotStart(f"No free port from {DEFAULT_PORT} on. Choose one: PORT=9000 make run.")


def _claim(port: int) -> socket.socket:
    """Bound and never listening, so no connection comes here. Granian's workers share a port among themselves by
    SO_REUSEPORT, and so with us; without SO_REUSEADDR no `_problem_with` of another supervisor can bind it."""
    claim = socket.socket()
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    claim.bind((HOST, port))
    return claim


def _problem_with(port: int) -> str:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's rest is no problem
        try:
            trial.bind((HOST, port))
            trial.listen(1)
        except OSError as error:
            known = {errno.EADDRINUSE: "is in use by another program", errno.EACCES: "is closed to this user"}
            return known.get(error.errno or 0, f"cannot be used: {error}")
    return ""


def banner(home: Home, port: int, credentials: dict[str, Any] | None, *, pace: float | None) -> str:
    """What is where, and what to look at. pace: of the demo; None where there is none."""
    url = f"http://{HOST}:{port}"
    lines = [
        "",
        "Groundswell is running.",
        "",
        f"  Trending   {url}/",
        f"  Console    {url}/admin/console/",
        f"  API docs   {url}/api/docs/",
        f"  Health     {url}/health/ready   Metrics  {url}/metrics",
        f"  Logs       {home.logs}",
    ]
    if credentials:
        keys = credentials["keys"]
        lines += [
            "",
            f"  Operator   {credentials['operator']} / {credentials['password']}   (as first made)",
            *(f"  Key        {scope:7} {key}" for scope, key in keys.items()),
            "",
            "  What is trending, and a click:",
            f"    curl -H 'Authorization: Bearer {keys['read']}' '{url}/api/v1/trending?limit=5'",
            f"    curl -H 'Authorization: Bearer {keys['ingest']}' -H 'Content-Type: application/json' \\",
            f"""      -d '{{"actor": "ana", "item": "story-1"}}' {url}/api/v1/events""",
        ]
    else:
        lines += [
            "",
            "  Nobody has an account here yet unless you made one:",
            "    .venv/bin/python manage.py createsuperuser",
            "    .venv/bin/python manage.py keys make NAME --scope read",
        ]
    if pace:
        lines += _what_plays(pace)
    if "GROUNDSWELL_HOME" in os.environ:
        lines += ["", f"  For manage.py in another terminal: export GROUNDSWELL_HOME={home.path}"]
    return "\n".join([*lines, "", "Ctrl-C stops everything.", ""])


def _what_plays(pace: float) -> list[str]:
    """The demo's timetable; recommender.lab.demo plays it, a minute later where the screen knows the site no
    sooner."""
    story_s, attack_s = 120 / pace, max(90.0, 240 / pace)
    found_s, every_min = attack_s + 90, max(240.0, 600 / pace) / 60
    now = time.time()
    story, attack, found = (time.strftime("%H:%M", time.localtime(now + s)) for s in (story_s, attack_s, found_s))
    return [
        "",
        "  Invented readers are on the site (DEMO=0 make run goes without them). Open the console and watch:",
        f"    {story}  a story breaks: new readers come from everywhere, and it rises to the top",
        f"    {attack}  a botnet pushes an article: it is held, and stands on the shadow board only",
        f"    {found}  the finding says what gave it away; release or confirm it",
        f"  The botnet comes every {every_min:.0f} minutes; sooner with SPEED=4 make run, or the console's button.",
    ]
