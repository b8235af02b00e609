"""`manage.py model state|freeze|thaw|revert|retry|promote|...`: the stop switch."""

import time
from argparse import ArgumentTypeError
from datetime import UTC
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from rich.console import Console
from rich.table import Table

from monitoring import model_state
from monitoring.management.shell import refusals_told, shell_account
from monitoring.operations import request_revert, retry_revert, stop_switch
from monitoring.operations.request_revert import Exclude
from recommender.control import reverts
from recommender.learning import fresh_fold
from recommender.learning.refold import LogIncomplete
from recommender.models import Learner, Revert

POLL_EVERY_S = 0.5
OURSELVES_AFTER_S = 3.0  # without a worker that starts the revert


class Command(BaseCommand):
    help = "Look at the model, stop and start learning, go back to a checkpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("state", help="Show the state of learning.")
        freeze = verbs.add_parser("freeze", help="Stop learning at once. Events are accepted and wait.")
        thaw = verbs.add_parser("thaw", help="Learn again, with the waiting events first.")
        revert = verbs.add_parser("revert", help="Go back to a checkpoint, and learn on from there.")
        revert.add_argument("checkpoint", type=int)
        revert.add_argument("--mode", choices=Revert.Mode.values, default=str(Revert.Mode.REPLAY))
        revert.add_argument("--actors", type=Path, help="A file of actors to leave out, one id per line.")
        revert.add_argument("--networks", default="", help="Networks to leave out: 192.0.2.0/24,2001:db8:1::/48")
        revert.add_argument("--item", help="An item to leave out, for events received --from ... --to ...")
        revert.add_argument("--from", dest="start", type=_moment, help="A time, 2026-01-31T12:00Z")
        revert.add_argument("--to", dest="end", type=_moment)
        revert.add_argument("--findings", default="", help="Findings whose actors to leave out: 1,2")
        revert.add_argument("--preview", action="store_true", help="Show what would change, and change nothing.")
        revert.add_argument("--wait", action="store_true", help="Wait until it is done, then show the changes.")
        for verb in (freeze, thaw):
            verb.add_argument("--scope", default="", help="One list only: category:NAME or country:XX.")
        retry = verbs.add_parser("retry", help="Try a revert or a promotion again that failed.")
        retry.add_argument("revert", type=int, help="The number of the revert that failed.")
        retry.add_argument("--wait", action="store_true", help="Wait until it is done, then show the changes.")
        promote = verbs.add_parser("promote", help="Learn on from the winner of a trial, made by `retrain`.")
        promote.add_argument("trial", type=int)
        promote.add_argument("--wait", action="store_true", help="Wait until it is done, then show the changes.")
        for verb in (freeze, thaw, revert, retry, promote):
            verb.add_argument("--note", required=True, help="The reason, which is recorded.")
        verbs.add_parser("rebuild", help="Learn the whole log again, as after a change of half-lives.")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        with refusals_told():
            getattr(self, f"_{verb}")(options)

    def _state(self, options: dict[str, Any]) -> None:
        model = model_state.get_model()
        since = f" since {model['frozen_since']:%F %T}" if model["frozen_since"] else ""
        self.stdout.write(
            f"{model['state']}{since}, {model['waiting_events']} events wait,"
            f" {model['findings']['open']} open findings"
        )
        for each in model["shards"]:
            checkpoint = each["checkpoint"]
            self.stdout.write(
                f"shard {each['shard']}: {each['state']} at step {each['step']}, {each['events']} events,"
                f" lag {each['lag_s']:.1f} s, checkpoint {checkpoint['id']} {checkpoint['digest'][:12]}"
                if checkpoint
                else f"shard {each['shard']}: {each['state']}, no checkpoint"
            )

    def _freeze(self, options: dict[str, Any]) -> None:
        review = stop_switch.freeze(by=shell_account(), note=options["note"], scope=options["scope"])
        self.stdout.write(f"frozen; decision {review.pk}")

    def _thaw(self, options: dict[str, Any]) -> None:
        review = stop_switch.thaw(by=shell_account(), note=options["note"], scope=options["scope"])
        self.stdout.write(f"learning; decision {review.pk}")

    def _revert(self, options: dict[str, Any]) -> None:
        asked = request_revert.revert(
            by=shell_account(),
            note=options["note"],
            checkpoint_id=options["checkpoint"],
            mode=options["mode"],
            exclude=_exclude(options),
            is_preview=options["preview"],
        )
        self.stdout.write(str(asked))
        if options["wait"]:
            self._wait(asked)

    def _retry(self, options: dict[str, Any]) -> None:
        asked = retry_revert.retry(by=shell_account(), note=options["note"], revert_id=options["revert"])
        self.stdout.write(str(asked))
        if options["wait"]:
            self._wait(asked)

    def _promote(self, options: dict[str, Any]) -> None:
        review = request_revert.promote(by=shell_account(), note=options["note"], trial_id=options["trial"])
        before = ", ".join(map(str, review.subject["from"]))
        self.stdout.write(f"{review.subject['winner']} is promoted. To undo this: `model revert {before}`")
        if options["wait"]:
            self._wait(Revert.objects.get(pk=review.subject["revert"]))

    def _wait(self, asked: Revert) -> None:
        told, began_at = "", time.monotonic()
        while asked.state in (Revert.State.QUEUED, Revert.State.RUNNING):
            if asked.state == Revert.State.QUEUED and time.monotonic() - began_at > OURSELVES_AFTER_S:
                self.stdout.write("No worker has started it, so this command does it.")
                reverts.run_next()
            else:
                time.sleep(POLL_EVERY_S)
            asked.refresh_from_db()
            line = f"{asked.state}: {asked.n_done:,} of {asked.n_total:,} events"
            if line != told:
                self.stdout.write(line)
                told = line
        request_revert.close_reverts()
        if asked.state == Revert.State.FAILED:
            raise CommandError(f"{asked}: {asked.error}")
        self._show(asked.outcome)

    def _show(self, outcome: dict[str, Any]) -> None:
        before, after = (outcome["quality"][name]["hr20"] for name in ("before", "after"))
        self.stdout.write(f"{outcome['events']:,} events learned again, {outcome['excluded']:,} left out")
        self.stdout.write(f"hit rate at 20 since the checkpoint: {_share(before)} before, {_share(after)} after")
        if "upgrade" in outcome:
            self.stdout.write(outcome["upgrade"]["note"])
        boards = outcome["boards"]
        was = {place["item"]: number for number, place in enumerate(boards["before"], 1)}
        table = Table("place", "item", "score", "was")
        for number, place in enumerate(boards["after"], 1):
            table.add_row(
                str(number), place["item"], f"{place['score']:.3f}", str(was.pop(place["item"], "not in it"))
            )
        for item, number in was.items():
            table.add_row("gone", item, "", str(number))
        Console(file=cast(IO[str], self.stdout), highlight=False, markup=False, width=100).print(table)

    def _rebuild(self, options: dict[str, Any]) -> None:
        for row in Learner.objects.order_by("shard"):
            try:
                checkpoint = fresh_fold.rebuild(row)
            except LogIncomplete as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"shard {row.shard} learns on from {checkpoint}, digest {checkpoint.digest}")


def _exclude(options: dict[str, Any]) -> Exclude | None:
    actors: list[str] = []
    if options["actors"]:
        try:
            actors = [line for line in options["actors"].read_text().splitlines() if line]
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['actors']} cannot be read: {error}") from None
    is_whole = options["item"] is not None, options["start"] is not None, options["end"] is not None
    if any(is_whole) and not all(is_whole):
        raise CommandError("Give --item, --from and --to together.")
    findings = _parts(options["findings"])
    if not all(part.isdecimal() for part in findings):
        raise CommandError("--findings takes numbers separated by commas.")
    exclude = Exclude(
        actors=actors,
        networks=_parts(options["networks"]),
        items=[(options["item"], options["start"], options["end"])] if all(is_whole) else [],
        findings=[int(part) for part in findings],
    )
    return exclude or None


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _share(value: float | None) -> str:
    return "nothing predicted" if value is None else f"{value:.3f}"


def _moment(text: str) -> int:
    """Read a time as milliseconds since 1970."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ArgumentTypeError(f"{text!r} is not a time. Write it as 2026-01-31T12:00Z")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
