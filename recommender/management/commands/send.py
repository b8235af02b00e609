"""`manage.py send FILE`: send a Parquet log through the HTTP API, moved to now."""

import re
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recommender.lab.client import Client, Receipt, Refused
from recommender.lab.send import EventFile, Sender, Sent, UnreadableLog
from recommender.management.server import add_server_arguments, key_of, stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ()  # talks to a server over HTTP only
    help = (
        "Send a Parquet log through the HTTP API. Its columns are ts, actor and item, and optionally kind, value,"
        " session, recommendation, ip, user_agent, referrer and country. Without --speed it is sent as fast as the"
        " server takes it, and the last row happens now. With --speed X the log begins now and runs X times as fast"
        " as it did."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        add_server_arguments(parser)
        parser.add_argument("--speed", type=float, help="Multiple of the log's own speed. Default: no waiting.")
        parser.add_argument("--batch", type=int, default=500, help="Events per request, 1 to 10000 (500).")
        parser.add_argument("--limit", type=int, help="Largest number of rows to send.")
        parser.add_argument("--connections", type=int, default=4, help="Requests at the same time, 1 to 32 (4).")
        parser.add_argument(
            "--run",
            help="A name for this run. Events sent again under the same name count once. Default: a random name.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _check(options)
        key = key_of(options)
        run = options["run"] or secrets.token_hex(4)
        console = Console(stderr=True)
        stop = threading.Event()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        try:
            log = EventFile(options["file"], run=run, limit=options["limit"])
            with Progress(*columns, console=console) as progress, stop_on_signals(stop):
                bar = progress.add_task(options["file"].name, total=log.n_rows)

                def note_wait(reason: str, pause_s: float) -> None:
                    progress.update(bar, description=f"{options['file'].name}: {reason}, waiting {pause_s:.1f} s")

                def note_answer(receipt: Receipt) -> None:
                    progress.update(bar, advance=receipt.n_answered, description=options["file"].name)

                clients = [
                    Client(options["url"], key=key, stop=stop, on_wait=note_wait)
                    for _ in range(options["connections"])
                ]
                batches = log.batches(options["batch"], speed=options["speed"], started_at=time.time())
                sent = Sender(clients, stop=stop, on_answer=note_answer).send(batches)
        except (UnreadableLog, ValueError) as error:
            raise CommandError(str(error)) from None
        except Refused as error:
            raise CommandError(f"The server refuses the log. {error}") from None
        console.print(_table(sent, run))
        if not sent.is_complete:
            raise CommandError(f"Stopped before the end. To send the rest, run the same command with --run {run}")


def _check(options: dict[str, Any]) -> None:
    """Raise CommandError if an option is out of range."""
    if not 1 <= options["batch"] <= 10_000:
        raise CommandError("--batch must be from 1 to 10000, because a server takes at most 10000 events at once.")
    if not 1 <= options["connections"] <= 32:
        raise CommandError("--connections must be from 1 to 32.")
    if options["speed"] is not None and not options["speed"] > 0:
        raise CommandError("--speed must be above 0. For example, 60 sends an hour in a minute.")
    if options["limit"] is not None and options["limit"] < 1:
        raise CommandError("--limit must be at least 1.")
    if options["run"] and not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", options["run"]):
        raise CommandError("--run must have 1 to 40 letters, digits, dots, dashes or underscores.")


def _table(sent: Sent, run: str) -> Table:
    receipt = sent.receipt
    table = Table(title=f"run {run}", show_header=False)
    rows: dict[str, float] = {
        "sent": receipt.n_answered,
        "accepted": receipt.accepted,
        "duplicates": receipt.duplicates,
    }
    rows |= {f"rejected: {code}": n for code, n in sorted(receipt.rejected.items())}
    rows |= {"requests sent again": sent.n_retries, "seconds": round(sent.seconds, 1)}
    rows |= {"events/s": round(receipt.n_answered / sent.seconds) if sent.seconds else 0}
    for name, value in rows.items():
        table.add_row(name, f"{value:,}")
    return table
