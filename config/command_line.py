"""The command line, for `groundswell` and for `manage.py` in a checkout.

    run                  config.supervisor: everything, until Ctrl-C. Imports no Django
    help, --version      printed here, without reading a setting
    any other command    Django's, with config.settings

An extra that is missing is named in one sentence, without a traceback.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from config import __version__, extras, places
from config.addresses.secret_files import is_set
from config.home import CannotStart, Home

RUN = (
    "run",
    "Start everything in this folder, with a demo. Ctrl-C stops it.",
)
GROUPS = {
    "People and keys": {
        "createsuperuser": "Make an account that may do everything.",
        "roles": "Give an account a role: viewer, reviewer or operator.",
        "keys": "Make, list and revoke API keys.",
        "alerts": "Send a test alert, and list the last alerts.",
    },
    "The model": {
        "model": "Show the model, stop and start learning, go back to a checkpoint.",
        "checkpoint": "List, export, import and verify checkpoints.",
        "ids": "Print or compare the secret that keys the hashes of ids.",
        "actor": "Erase an actor's events and influence, and list their traces.",
        "item": "Hide items for operators, show them again, and list what is hidden.",
    },
    "Findings and decisions": {
        "finding": "List, show, release and confirm findings.",
        "audit": "List, verify and export the decisions.",
        "policy": "Count how often the policy would freeze on a recorded log.",
    },
    "Logs": {
        "replay": "Learn a Parquet log from nothing, and report hit rates.",
        "send": "Send a Parquet log through the HTTP API.",
        "archive": "Write events that leave retention to Parquet files.",
        "demo": "Send the events of an invented news site.",
    },
    "Comparisons": {
        "compare": "Compare daily batch, hourly batch and online learning on a log.",
        "sweep": "Compare the values of a setting on a log.",
        "peers": "Compare Groundswell's lists with other methods on a log.",
        "retrain": "Test challengers against the model that learns.",
    },
    "Tests of this installation": {
        "check": "Check the settings.",
        "attack": "Attack the recommender: in a log, or live on this machine.",
        "incident": "Rehearse an attack and the way back, on servers of its own.",
        "bench": "Measure speed on this machine.",
        "bench_console": "Measure the console's pages on a full database.",
    },
    "Your own servers": {
        "migrate": "Create or update the tables of the database.",
        "collectstatic": "Copy the static files to one folder.",
    },
}


def main() -> None:
    """Carry out what was typed, and end the process."""
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    match arguments:
        case [] | ["help" | "-h" | "--help"]:
            sys.stdout.write(overview(program))
        case ["--version" | "version"]:
            sys.stdout.write(f"groundswell {__version__}\n")
        case ["run", *_] | ["help", "run"]:
            from config import supervisor  # noqa: PLC0415  only `run` needs it

            options = arguments[1:] if arguments[0] == "run" else ["--help"]
            sys.exit(supervisor.main(["run", *options], program=program))
        case _:
            sys.exit(run_django(program, arguments))


def overview(program: str) -> str:
    """Return the list of commands."""
    lines = [
        f"Groundswell {__version__}: lists that learn from every click and resist manipulation.",
        "",
        f"Usage: {program} COMMAND [OPTIONS]",
        "",
        f"  {RUN[0]:16} {RUN[1]}",
    ]
    for heading, commands in GROUPS.items():
        lines += ["", f"{heading}:", *(f"  {name:16} {purpose}" for name, purpose in commands.items())]
    lines += [
        "",
        f"`{program} help COMMAND` shows the options of a command.",
        f"`{program} help --commands` also lists the commands of Django.",
        "",
    ]
    return "\n".join(lines)


def run_django(program: str, arguments: Sequence[str]) -> str | None:
    """Run a command of Django. Returns a sentence if it cannot run here."""
    by = f"{program} {arguments[0]}"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415  not for `run` and `help`
    from django.db import OperationalError  # noqa: PLC0415

    try:
        extras.require_for(arguments, by=by)
        execute_from_command_line(list(sys.argv))
    except ModuleNotFoundError as error:
        if found := extras.explain(error, by=by):
            return str(found)
        raise
    except CannotStart as error:
        return str(error)
    except OperationalError as error:
        from recommender.connections import database_sessions  # noqa: PLC0415

        if reason := database_sessions.explain(error):
            return reason
        if _has_database():
            raise
        return f"No database answers. Start `{places.RUN}` in this folder first, or set DATABASE_URL."
    return None


def _has_database() -> bool:
    """Return whether a server is named, or the private one runs."""
    socket = Home.of_project(places.WORK_DIR).sockets / ".s.PGSQL.5432"
    return is_set("DATABASE_URL") or socket.exists()
