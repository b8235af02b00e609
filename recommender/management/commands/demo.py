"""`manage.py demo`: run an invented news site against a server, for a first look."""

import os
import secrets
import threading
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender.lab.client import Client, Refused, Stopped
from recommender.lab.demo.botnet import DemoBotnet
from recommender.lab.demo.feed import Feed
from recommender.lab.demo.followers import Followers
from recommender.lab.demo.newsroom import Newsroom
from recommender.lab.demo.stage import Stage
from recommender.lab.demo.timetable import Programme
from recommender.lab.loopback import NotHere, require_loopback
from recommender.management.server import add_server_arguments, key_of, stop_on_signals
from recommender.publishing import published_boards

MAX_PACE = 10.0
READ_KEY_VARIABLE = "GROUNDSWELL_READ_KEY"


class Command(BaseCommand):
    requires_system_checks = ()  # talks to a server over HTTP only
    help = (
        "Send a live stream of an invented news site. A story breaks two minutes after the start, a botnet attacks"
        " two minutes later, and both come again. The botnet only attacks a server on this machine."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_server_arguments(parser)
        parser.add_argument("--items-key", help="A key that may describe items, if --key may not.")
        parser.add_argument(
            "--read-key",
            default=os.environ.get(READ_KEY_VARIABLE),
            help=f"A key with which some readers follow recommendations. Default: ${READ_KEY_VARIABLE}.",
        )
        parser.add_argument("--rate", type=float, default=40.0, help="Events per second in an average hour (40).")
        parser.add_argument(
            "--seed", type=int, help="The same seed invents the same people and news. Default: a random seed."
        )
        parser.add_argument(
            "--pace", type=float, default=1.0, help="Factor by which stories and attacks come sooner (1)."
        )
        parser.add_argument("--no-attack", action="store_true", help="Honest readers only.")
        parser.add_argument(
            "--for-s", type=float, help="Stop after this many seconds. Default: run until you stop it."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["rate"] <= 2000:
            raise CommandError(
                f"--rate must be above 0 and at most 2000. For a load test use `{settings.COMMAND} bench`."
            )
        if not 0 < options["pace"] <= MAX_PACE:
            raise CommandError(f"--pace must be above 0 and at most {MAX_PACE:g}.")
        stop = threading.Event()
        key = key_of(options)
        try:
            client = Client(options["url"], key=key, stop=stop, on_wait=self._note_wait)
            items = Client(options["url"], key=options["items_key"] or key, stop=stop, on_wait=self._note_wait)
            reading = Client(options["url"], key=options["read_key"], stop=stop, on_wait=self._note_wait)
        except ValueError as error:
            raise CommandError(str(error)) from None
        seed = abs(options["seed"]) if options["seed"] is not None else secrets.randbits(24)
        programme = self._programme(seed, options)
        stage = Stage(programme, published_boards.connect())
        feed = Feed(
            programme,
            client,
            items=items,
            followers=Followers(reading, seed=seed) if options["read_key"] else None,
            stop=stop,
            say=self._say,
            between=stage.attend,
        )
        with stop_on_signals(stop):
            self._say(time.time(), f"a news site opens: about {options['rate']:g} events a second, seed {seed}")
            try:
                feed.run(for_s=options["for_s"])
            except Stopped:
                pass
            except Refused as error:
                raise CommandError(f"The server refuses the stream. {error}") from None
            finally:
                client.close()
                items.close()
                reading.close()
        done = feed.receipt
        self._say(time.time(), f"closed after {done.n_answered:,} events, {client.n_retries:,} batches sent again")

    def _programme(self, seed: int, options: dict[str, Any]) -> Programme:
        now, pace = time.time(), options["pace"]
        newsroom = Newsroom(seed=seed, started_at=now, rate=options["rate"], pace=pace)
        try:
            require_loopback(options["url"])
        except NotHere:
            return Programme(newsroom)
        if options["no_attack"]:
            return Programme(newsroom)
        return Programme(newsroom, DemoBotnet(seed=seed, started_at=now, run=newsroom.run, pace=pace))

    def _say(self, at: float, text: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M', time.localtime(at))} {text}")
        self.stdout.flush()

    def _note_wait(self, reason: str, pause_s: float) -> None:
        if pause_s >= 1.0:  # the first waits are short and not worth a line
            self._say(time.time(), f"{reason}, trying again in {pause_s:.0f} s")
