"""Starts Groundswell on this machine and keeps it running.

    run            is `make run`: private PostgreSQL and Valkey (config.embedded), migrations, first accounts, web,
                   worker, beat and the demo stream; prints the URLs; Ctrl-C stops all, a second Ctrl-C at once;
                   in a new checkout it also compiles the learning code, and the workers start after that
    exec -- CMD    the two private servers on a throw-away home, and CMD with their addresses in its environment
    hold [HOME]    the two servers for a program that starts us: prints the addresses as a line of JSON; stops when
                   our standard input closes, so also when that program is killed; a HOME that is named is kept

A server named by DATABASE_URL, BROKER_URL or VIEW_URL replaces the private one. PORT, DEMO=0 and SPEED change how
`run` works. The supervisor has one thread and uses the standard library only, because it must outlive everything it
starts.
"""

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from config import __version__, extras, places, roster
from config.addresses.secret_files import is_set, read_secret
from config.crew import LOOK_EVERY_S, Crew, StopSign, say
from config.embedded import CannotStart, Home, PostgreSQL, Valkey
from config.home import ServiceAccount
from config.processes import end_orphans
from recommender.core import warmup

_LEARNS_WITHIN_S = 20.0  # The learner takes longer if many events wait, but `run` does not wait for that.
_FIRST_RUN = f"\nThe first run compiles the learning code. This takes about {warmup.ABOUT_S} s on two cores, once."


@contextlib.contextmanager
def private_servers(home: Home, crew: Crew, *, durable: bool = True) -> Iterator[dict[str, str]]:
    """Start the private servers that no variable replaces and yield their addresses.

    It first locks the home and ends the processes that an earlier supervisor left behind. On the way out it always
    stops everything in `crew`.
    """
    with home.lock():
        if n_ended := end_orphans(home.path):
            crew.say(f"Ended {n_ended} processes that an earlier run had left behind.")
        account = ServiceAccount.of_services()
        addresses = {}
        try:
            if not is_set("DATABASE_URL"):
                crew.start(PostgreSQL(home=home, account=account, durable=durable).prepare(), is_server=True)
                addresses["DATABASE_URL"] = home.database_url
            if not (is_set("BROKER_URL") and is_set("VIEW_URL")):
                crew.start(Valkey(home=home, account=account, durable=durable).prepare(), is_server=True)
                addresses |= {"BROKER_URL": home.broker_url, "VIEW_URL": home.view_url}
            yield {name: url for name, url in addresses.items() if not is_set(name)}
        finally:
            crew.stop()


def run() -> None:
    started_at = time.monotonic()
    stop_sign = StopSign()
    crew = Crew(say=say, stop_sign=stop_sign)
    home = Home.of_project(places.WORK_DIR)
    is_first_run = not is_set("DATABASE_URL")
    _check_environment(is_first_run)
    places.choose_numba_cache(home.path)

    def progress(text: str) -> None:
        say(f"{time.monotonic() - started_at:6.1f} s  {text}")

    is_warm = warmup.is_warm()
    first_run = "" if is_warm else _FIRST_RUN
    say(f"Starting Groundswell {__version__}. Its data and logs are in {home.path}{first_run}")
    pace = roster.demo_pace()
    with roster.claim_port(say=progress) as claim, private_servers(home, crew) as addresses:
        _, port = claim.getsockname()
        names = {"DATABASE_URL": "PostgreSQL", "BROKER_URL": "Valkey"}
        if ready := [name for variable, name in names.items() if variable in addresses]:
            progress(f"Ready: {' and '.join(ready)}.")
        for file in home.metrics.glob("*.db"):
            file.unlink()
        if stop_sign.is_up():
            return
        compiler = None if is_warm else roster.compiler(home)
        if compiler:
            crew.start(compiler, may_end=True)
            progress("Compiling the learning code. The web process starts meanwhile.")
        code = crew.run_to_end(migrate := roster.migrate(home))
        if stop_sign.is_up():
            return
        if code != 0:
            raise CannotStart(f"The settings or the database are not in order.\n{migrate.explain()}")
        progress("The database is up to date.")
        credentials = home.credentials() if is_first_run else None
        has_demo = credentials is not None and pace is not None
        workers = roster.workers(home, has_shadow=has_demo)
        for child in (*(() if compiler else workers), roster.beat(home)):  # they start while the web server starts
            crew.start(child)
        crew.start(roster.web(home, port))
        progress("The web server answers.")
        if compiler:
            crew.watch_until(compiler.has_ended)
            for child in workers:
                crew.start(child)
        crew.watch_until(lambda: roster.answers(port, "/health/ready"), within_s=_LEARNS_WITHIN_S)
        is_ready = roster.answers(port, "/health/ready")
        progress("The learner is ready." if is_ready else "The learner needs more time. You can go on meanwhile.")
        if credentials and pace:
            crew.start(roster.demo(home, port, credentials["keys"], pace), may_end=True)
        if not stop_sign.is_up():
            say(roster.banner(home, port, credentials, pace=pace if credentials else None))
        crew.watch_until(stop_sign.is_up)
        say("\nStopping. Press Ctrl-C again to stop at once.")
    say(f"Stopped. The next `{places.RUN}` continues with the same data.")


def _check_environment(is_first_run: bool) -> None:
    """Raise CannotStart if a setting or an extra is missing that something here needs."""
    if not is_first_run and len(read_secret("SECRET_KEY")) < 32:
        raise CannotStart(
            "You have set DATABASE_URL, so SECRET_KEY must be set too: at least 32 random characters. Keep the key:\n"
            "    export SECRET_KEY=$(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')"
        )
    has_database = is_set("DATABASE_URL") or "PG_BIN_DIR" in os.environ
    has_valkey = "VALKEY_BIN" in os.environ or (is_set("BROKER_URL") and is_set("VIEW_URL"))
    extras.require("learn", *(() if has_database and has_valkey else ("firstrun",)), by=places.RUN)


def exec_command(command: list[str]) -> int:
    """Run a command with throw-away servers and return its exit code."""
    stop_sign = StopSign()
    crew = Crew(say=say, stop_sign=stop_sign)
    with Home.temporary() as home, private_servers(home, crew, durable=False) as addresses:
        env = os.environ | _test_env(home, addresses)
        process = subprocess.Popen(command, env=env)  # noqa: S603 - the caller's own command
        n_forwarded = 0
        while process.poll() is None:
            crew.watch()
            if stop_sign.n_received > n_forwarded:
                n_forwarded = stop_sign.n_received
                if stop_sign.is_urgent():
                    process.kill()
                elif stop_sign.last:
                    process.send_signal(stop_sign.last)
            time.sleep(LOOK_EVERY_S / 4)
        return process.returncode if process.returncode >= 0 else 128 - process.returncode


def hold(kept: Path | None) -> int:
    """Keep servers running for the program at the other end of our standard input."""
    stop_sign = StopSign()
    crew = Crew(say=_say_aside, stop_sign=stop_sign)
    with (
        contextlib.nullcontext(Home(kept)) if kept else Home.temporary() as home,
        private_servers(home, crew, durable=kept is not None) as addresses,
    ):
        say(json.dumps(_test_env(home, addresses)))
        while not stop_sign.is_up():
            crew.watch()
            readable, _, _ = select.select([sys.stdin], [], [], LOOK_EVERY_S)
            if readable and not os.read(sys.stdin.fileno(), 4096):
                break
    return 0


def _say_aside(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _test_env(home: Home, addresses: dict[str, str]) -> dict[str, str]:
    """Return the addresses, and the secret key that the settings need with them."""
    key = {} if os.environ.get("SECRET_KEY_FILE") else {"SECRET_KEY": read_secret("SECRET_KEY") or home.secret_key()}
    return key | addresses


def main(arguments: Sequence[str] | None = None, *, program: str = "python -m config.supervisor") -> int:
    """Carry out a command, and return the exit code."""
    parser = argparse.ArgumentParser(prog=program)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_run(commands)
    hold_parser = commands.add_parser("hold", help="run the two servers until standard input closes")
    hold_parser.add_argument("home", nargs="?", type=Path, metavar="HOME", help="default: a throw-away folder")
    exec_parser = commands.add_parser("exec", help="run a command with throw-away servers")
    exec_parser.add_argument("argv", nargs="+", metavar="CMD")
    options = parser.parse_args(arguments)
    try:
        if options.command == "exec":
            return exec_command(options.argv)
        if options.command == "hold":
            return hold(options.home and options.home.absolute())
        os.environ.update(_named(options))
        run()
    except CannotStart as error:
        sys.stderr.write(f"\nGroundswell cannot start. {error}\n")
        return 1
    return 0


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "Start everything in this folder, and stop it with Ctrl-C. The next run continues with the same data."
    parser = commands.add_parser("run", help="everything, until Ctrl-C", description=what)
    parser.add_argument("--port", help="Port of the web server (PORT). Default: the first free one from 8000 on.")
    parser.add_argument("--no-demo", action="store_true", help="Start without invented readers (DEMO=0).")
    parser.add_argument("--speed", help="Pace of the demo, above 0 and at most 10 (SPEED). Default: 1.")


def _named(options: argparse.Namespace) -> dict[str, str]:
    """Return the options of `run` as the environment variables that they set."""
    named = {"PORT": options.port, "SPEED": options.speed, "DEMO": "0" if options.no_demo else None}
    return {name: value for name, value in named.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
