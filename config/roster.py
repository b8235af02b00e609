"""The children that `make run` starts after the two servers.

This module has each child's command. It also writes the lines that are printed when all children run.
"""

import contextlib
import errno
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from config.home import CannotStart, Home
from config.places import BASE_DIR, COMMAND, IS_CHECKOUT, RUN, WORK_DIR
from config.processes import MARK, Child

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
    if folder := env.get("ARCHIVE_DIR"):
        env["ARCHIVE_DIR"] = str(WORK_DIR / folder)  # the child starts in the folder of the code
    # Start modules, not scripts: after a checkout is moved, a script's first line names a path that is gone.
    argv = (sys.executable, "-m", *argv)
    return Child(name=name, argv=argv, env=env, log=home.logs / f"{name}.log", cwd=BASE_DIR, **more)


def migrate(home: Home) -> Child:
    return _child(home, "migrate", "config.firstrun")


def compiler(home: Home) -> Child:
    return _child(home, "compiler", "recommender.core.warmup")


def web(home: Home, port: int) -> Child:
    # Each worker has four threads. With one, a read waits behind every batch of events (`manage.py bench` measures
    # both).
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
    """Return one worker per shard and the keeper.

    A shard's Pipeline lives in the process that learns it. The keeper does the maintenance, because learning goes on
    during a revert, which takes minutes.

    has_shadow: learn the undefended list too, unless SHADOW is set to another value.
    """
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
    """Return the demo.

    The keys are passed in the environment, because other users can read a command line.
    """
    argv = ("django", "demo", "--url", f"http://{HOST}:{port}", "--pace", f"{pace:g}")
    return _child(home, "demo", *argv, env={"GROUNDSWELL_KEY": keys["ingest"], "GROUNDSWELL_READ_KEY": keys["read"]})


def demo_pace() -> float | None:
    """Return SPEED, by default 1, or None if DEMO=0 switches the demo off."""
    if os.environ.get("DEMO", "1") == "0":
        return None
    named = os.environ.get("SPEED", "1")
    try:
        pace = float(named)
    except ValueError:
        pace = 0.0
    if not 0 < pace <= _MAX_PACE:
        raise CannotStart(f"SPEED={named} is not a speed of the demo. Set a number above 0 and at most {_MAX_PACE}.")
    return pace


def answers(port: int, path: str) -> bool:
    """Return whether the web server answers this path with status 200."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        finally:
            connection.close()
    return False


def claim_port(*, say: Callable[[str], None]) -> socket.socket:
    """Claim the port of PORT, or the first free one from 8000 up.

    A port that PORT names must be free. The claim lasts until the returned socket is closed. It is needed because the
    web server starts to listen only seconds later. The web server shares the port with the claim. Another Groundswell
    that starts in the meantime must not share it too.
    """
    named = os.environ.get("PORT")
    if named:
        if not named.isdecimal() or not 0 < int(named) < 65_536:
            raise CannotStart(f"PORT={named} is not a port. Set a number from 1 to 65535.")
        if problem := _problem_with(int(named)):
            raise CannotStart(f"Port {named} {problem}. Choose another port, for example: PORT=8001 {RUN}")
        return _claim(int(named))
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED):
        problem = _problem_with(port)
        if not problem:
            return _claim(port)
        say(f"Port {port} {problem}. Trying {port + 1}.")
    last = DEFAULT_PORT + _PORTS_TRIED - 1
    raise CannotStart(f"No port from {DEFAULT_PORT} to {last} is free. Choose another: PORT=9000 {RUN}")


def _claim(port: int) -> socket.socket:
    """Bind a port without listening, so that no connection arrives here.

    Granian's workers share a port by SO_REUSEPORT, and so they also share it with us. Without SO_REUSEADDR here, the
    `_problem_with` of another supervisor cannot bind the port.
    """
    claim = socket.socket()
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    claim.bind((HOST, port))
    return claim


def _problem_with(port: int) -> str:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT is no problem
        try:
            trial.bind((HOST, port))
            trial.listen(1)
        except OSError as error:
            known = {errno.EADDRINUSE: "is in use by another program", errno.EACCES: "is closed to this user"}
            return known.get(error.errno or 0, f"cannot be used: {error}")
    return ""


def banner(home: Home, port: int, credentials: dict[str, Any] | None, *, pace: float | None) -> str:
    """Return the lines that show the addresses, the credentials and the demo.

    pace: of the demo, or None without a demo.
    """
    url = f"http://{HOST}:{port}"
    typed = f".venv/bin/python {COMMAND}" if IS_CHECKOUT else COMMAND
    lines = [
        "",
        "Groundswell is running. Open these pages in your browser:",
        "",
        f"  Trending   {url}/",
        f"  Console    {url}/admin/console/",
        f"  API docs   {url}/api/docs/",
        f"  Health     {url}/health/ready",
        f"  Metrics    {url}/metrics",
        "",
        f"  The logs are in {home.logs}",
    ]
    if credentials:
        keys = credentials["keys"]
        lines += [
            "",
            "  Sign in to the console with this first password, unless you have changed it:",
            f"    user {credentials['operator']}   password {credentials['password']}",
            "  Your programs use API keys, one per scope. Paste these lines into another terminal:",
            *(f"    export {scope.upper()}={key}" for scope, key in keys.items()),
            "  Then send a click from there, and read the trending list:",
            """    curl -H "Authorization: Bearer $INGEST" -H 'Content-Type: application/json' \\""",
            f"""      -d '{{"actor": "ana", "item": "story-1"}}' {url}/api/v1/events""",
            f"""    curl -H "Authorization: Bearer $READ" '{url}/api/v1/trending?limit=5'""",
        ]
    else:
        lines += [
            "",
            "  Groundswell makes no account and no key on your own database. Make yours, unless you have them:",
            f"    {typed} createsuperuser",
            f"    {typed} keys make NAME --scope read",
        ]
    if pace:
        lines += _what_plays(pace)
    if "GROUNDSWELL_HOME" in os.environ:
        lines += ["", f"  Before you use {COMMAND} in another terminal: export GROUNDSWELL_HOME={home.path}"]
    return "\n".join([*lines, "", "Ctrl-C stops everything.", ""])


def _what_plays(pace: float) -> list[str]:
    """Return the demo's timetable.

    recommender.lab.demo plays it. It plays a minute later if the screen needs that long to know the site.
    """
    story_s, attack_s = 120 / pace, max(90.0, 240 / pace)
    found_s, every_min = attack_s + 90, max(240.0, 600 / pace) / 60
    now = time.time()
    story, attack, found = (time.strftime("%H:%M", time.localtime(now + s)) for s in (story_s, attack_s, found_s))
    return [
        "",
        "  A demo is playing: invented readers click on the site. Open the console and watch:",
        f"    {story}  A story breaks. New readers come from everywhere, and the story rises to the top.",
        f"    {attack}  A botnet pushes an article. Its clicks are held, so only the shadow board shows the article.",
        f"    {found}  A finding shows why the botnet was noticed. You decide: release or confirm it.",
        f"  The botnet comes back every {every_min:.0f} minutes. A button in the console starts it at once.",
        f"  To play the demo four times as fast: SPEED=4 {RUN}. To run without it: DEMO=0 {RUN}.",
    ]
