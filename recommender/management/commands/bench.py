"""`manage.py bench`: measure this machine's speed, next to its ceilings.

It prints a table and can write JSON.
"""

import contextlib
import ipaddress
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from rich.console import Console

from recommender.control import reverts
from recommender.lab.bench import (
    drift_delay,
    freshness,
    ingest_rate,
    recommendations_rate,
    refold_speed,
    results,
    revert_speed,
    running_system,
    state_growth,
    step_speed,
    trending_rate,
)
from recommender.lab.client import Refused
from recommender.management.server import key_of

MEASURES = ("step", "ingest", "freshness", "trending", "recommendations")
SLOW = ("drift", "refold", "revert", "growth")  # only on request: drift takes ten minutes, growth three
BUSY = 0.25  # load average per core before the start above which figures are doubtful
WIDTH = 110  # so that the table is not cut where there is no terminal, for example in a log
_ON_A_RIG = {
    "ingest": ingest_rate.measure,
    "freshness": freshness.measure,
    "trending": trending_rate.measure,
    "recommendations": recommendations_rate.measure,
}
_SETTINGS = {
    "freshness": freshness.SETTINGS,
    "recommendations": recommendations_rate.SETTINGS,
}  # measures that start their own server


class Command(BaseCommand):
    requires_system_checks = ()  # starts its own servers
    help = (
        "Measure steps, ingest, freshness and reads of lists on this machine. It starts its own Groundswell on a free"
        " port with its own database, and removes both. A running Groundswell is not touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        slow = ", ".join(SLOW)
        parser.add_argument(
            "measures", nargs="*", metavar="|".join(MEASURES + SLOW), help=f"Default: all but {slow}."
        )
        parser.add_argument("--seconds", type=float, default=8.0, help="Length of each phase of load, 1 to 60 (8).")
        parser.add_argument(
            "--json", type=Path, metavar="FILE", help="Write the rows to this file, with facts about the machine."
        )
        parser.add_argument("--seed", type=int, default=1, help="Seed of the generated events (1).")
        parser.add_argument(
            "--limit", type=int, help="Largest number of rows of the real log that drift reads (all)."
        )
        parser.add_argument(
            "--events",
            type=int,
            help="Number of events that a revert replays (300,000), or that a refold folds (100,000).",
        )
        parser.add_argument(
            "--steps",
            type=int,
            nargs="+",
            default=list(refold_speed.STEP_EVENTS),
            help="Events in a step of refold, one run for each (20 200 1000 4096).",
        )
        parser.add_argument("--profile", action="store_true", help="Print a profile of refold's reverts.")
        parser.add_argument(
            "--actors", type=int, default=state_growth.N_ACTORS, help="Actors that growth makes (1,000,000)."
        )
        parser.add_argument(
            "--items", type=int, default=state_growth.N_ITEMS, help="Items that growth makes (100,000)."
        )
        parser.add_argument(
            "--url", help="Measure this server on this machine instead. Its lists will fill with bench items."
        )
        parser.add_argument(
            "--key", help="Key of that server, with the scopes ingest and read. Default: $GROUNDSWELL_KEY."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = options["measures"] or list(MEASURES)
        if unknown := set(chosen) - set(MEASURES + SLOW):
            raise CommandError(
                f"There is no measure {', '.join(sorted(unknown))}. Choose from {', '.join(MEASURES + SLOW)}."
            )
        if not 1 <= options["seconds"] <= 60:
            raise CommandError("--seconds must be from 1 to 60.")
        if options["url"]:
            options["key"] = key_of(options)
            _check_is_here(options["url"])
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers started here are stopped
        console = Console(stderr=True)
        console.width = max(console.width, WIDTH)
        context = results.machine() | {"commit": results.commit(settings.BASE_DIR), "seed": options["seed"]}
        rows: list[results.BenchRow] = []
        try:
            with console.status("measuring") as status:
                for row in self._measure(chosen, options, context, status.update):
                    rows.append(row)
                    console.print(f"  {row.measure}: {row.value:,.4g} {row.unit}")
        except (running_system.CannotMeasure, Refused, DatabaseError) as error:
            raise CommandError(f"The bench cannot go on: {error}") from None
        finally:
            if rows:
                console.print(results.table(rows))
                for line in results.notes(rows):
                    console.print(f"  {line}", soft_wrap=True, highlight=False)
                told = ", ".join(f"{name} {value}" for name, value in context.items())
                console.print(f"  {told}", soft_wrap=True, highlight=False)
                if context["load_before"] > BUSY * context["cores"]:
                    console.print("  [red]Other programs kept this machine busy, so these figures are too low.[/]")
        if options["json"]:
            report = {"machine": context, "rows": [row.as_json() for row in rows]}
            options["json"].write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))

    def _measure(
        self, chosen: list[str], options: dict[str, Any], context: dict[str, Any], tell: Callable[[str], None]
    ) -> Iterator[results.BenchRow]:
        yield from self._measure_parts(chosen, options, context, tell)
        on_a_rig = [name for name in MEASURES if name in chosen and name in _ON_A_RIG]
        if on_a_rig:
            yield from self._measure_servers(on_a_rig, options, context, tell)

    def _measure_parts(
        self, chosen: list[str], options: dict[str, Any], context: dict[str, Any], tell: Callable[[str], None]
    ) -> Iterator[results.BenchRow]:
        """Measure the parts that need no server, or make servers of their own."""
        seconds, seed = options["seconds"], options["seed"]
        if "step" in chosen:
            tell("measuring step")
            yield from step_speed.measure(seed=seed, seconds=seconds)
        if "drift" in chosen:
            tell("measuring drift")
            yield from drift_delay.measure(seed=seed, path=step_speed.real_log(), limit=options["limit"])
        if "revert" in chosen:
            if options["url"]:
                raise CommandError("revert changes a model's history. Measure it without --url.")
            tell("measuring revert")
            with running_system.start(seed=seed) as own:
                context |= _database()
                yield from revert_speed.measure(own, n_events=options["events"] or revert_speed.N_EVENTS)
        if "refold" in chosen:
            if options["url"]:
                raise CommandError("refold empties its database. Measure it without --url.")
            tell("measuring refold")
            with running_system.start_servers():
                context |= _database()
                profiles: list[str] | None = [] if options["profile"] else None
                yield from refold_speed.measure(
                    run_revert=reverts.run_next,
                    n_events=options["events"] or refold_speed.N_EVENTS,
                    seed=seed,
                    sizes=options["steps"],
                    profiles=profiles,
                )
                for profile in profiles or ():
                    self.stdout.write(profile)
        if "growth" in chosen:
            tell("measuring growth")
            yield from state_growth.measure(n_actors=options["actors"], n_items=options["items"], seed=seed)

    def _measure_servers(
        self, on_a_rig: list[str], options: dict[str, Any], context: dict[str, Any], tell: Callable[[str], None]
    ) -> Iterator[results.BenchRow]:
        """Measure running servers: the one at --url, or ones started here."""
        seconds, seed = options["seconds"], options["seed"]
        tell("starting Groundswell")
        with contextlib.ExitStack() as stack:
            server: running_system.Rig | None = None
            if options["url"]:
                server = running_system.Rig(options["url"].rstrip("/"), options["key"], has_database=False, seed=seed)
            for name in on_a_rig:
                tell(f"measuring {name}")
                if name in _SETTINGS and not options["url"]:
                    with running_system.start(seed=seed, **_SETTINGS[name]) as open_server:
                        context |= _database()
                        yield from _ON_A_RIG[name](open_server, seconds=seconds)
                    continue
                if server is None:
                    server = stack.enter_context(running_system.start(seed=seed))
                    context |= _database() | {"fsync_ms": results.fsync_ms(Path(tempfile.gettempdir()))}
                yield from _ON_A_RIG[name](server, seconds=seconds)


def _check_is_here(url: str) -> None:
    """Raise CommandError for a server on another machine.

    A bench would be an attack on anyone else's server.
    """
    host = urlsplit(url).hostname or ""
    is_here = host == "localhost"
    with contextlib.suppress(ValueError):
        is_here = is_here or ipaddress.ip_address(host).is_loopback
    if not is_here or urlsplit(url).scheme != "http":
        raise CommandError("--url must be http:// and on this machine: localhost, 127.0.0.1 or [::1].")


def _database() -> dict[str, str]:
    """Return the database settings that decide how fast a commit is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), current_setting('fsync')")
        version, fsync = cursor.fetchone()
    return {"postgresql": version, "fsync": fsync, "synchronous_commit": settings.SYNCHRONOUS_COMMIT}
