"""`manage.py actor erase|retry|traces`: erase an actor, and prove it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.management.shell import refusals_told, shell_account
from monitoring.operations import erase_actor
from recommender.control import erasures
from recommender.models import UNFINISHED, Erasure


class Command(BaseCommand):
    help = "Erase an actor's events and its influence, or count its traces."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        erase = verbs.add_parser("erase", help="Remove the actor's events and its influence.")
        erase.add_argument("id", help="The actor's id, as in its events.")
        erase.add_argument(
            "--note", default=erase_actor.ASKED, help="The reason. It is recorded: do not write the id."
        )
        erase.add_argument("--now", action="store_true", help="Erase in this process instead of the worker.")
        retry = verbs.add_parser("retry", help="Try an erasure again that failed.")
        retry.add_argument("number", type=int, help="The number of the erasure.")
        retry.add_argument(
            "--note", default=erase_actor.AGAIN, help="The reason. It is recorded: do not write the id."
        )
        retry.add_argument("--now", action="store_true", help="Erase in this process instead of the worker.")
        traces = verbs.add_parser("traces", help="Count the actor's traces. Exits with 1 if there are any.")
        traces.add_argument("id")

    def handle(self, *, verb: str, **options: Any) -> None:
        getattr(self, f"_{verb}")(**options)

    def _erase(self, *, id: str, note: str, now: bool, **_: Any) -> None:
        with refusals_told():
            asked = erase_actor.erase(actor_id=id, by=shell_account(), note=note)
        self._follow(asked, now)

    def _retry(self, *, number: int, note: str, now: bool, **_: Any) -> None:
        with refusals_told():
            asked = erase_actor.retry(erasure_id=number, by=shell_account(), note=note)
        self._follow(asked, now)

    def _follow(self, asked: Erasure, now: bool) -> None:
        while now and asked.state in UNFINISHED and erasures.run_next():
            asked.refresh_from_db()
        told = f": {asked.error}" if asked.error else "".join(f"  {key} {n}" for key, n in asked.outcome.items())
        if asked.state == Erasure.State.FAILED or (now and asked.state in UNFINISHED):
            raise CommandError(f"{asked}{told or ': a revert is running, or a worker does it already'}")
        self.stdout.write(f"{asked}{told}")

    def _traces(self, *, id: str, **_: Any) -> None:
        found = erasures.traces_of(id)
        for what, n in found.items():
            self.stdout.write(f"{what:12} {n}")
        if any(found.values()):
            raise CommandError("There are traces of this actor.")
