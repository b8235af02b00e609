"""`manage.py attack`: attack a log or a server on this machine, run the benchmark."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, cast

import orjson
import polars as pl
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from recommender.core.parquet_log import LogFileError
from recommender.lab.attack.catalogue.all_attacks import ATTACKS, CATALOGUE, LOOK_ALIKES, attack
from recommender.lab.attack.catalogue.attack_base import TARGET_CHOICES
from recommender.lab.attack.catalogue.invented_site import Town
from recommender.lab.attack.catalogue.known_site import as_text, see
from recommender.lab.attack.delivery import inject_into_log
from recommender.lab.attack.delivery.attack_live_server import Live
from recommender.lab.attack.delivery.campaign import VARIANTS
from recommender.lab.attack.report import documents, full_tables
from recommender.lab.attack.trials import whole_suite, wikipedia_vandals
from recommender.lab.attack.trials.benchmark import Choice
from recommender.lab.client import Refused, Stopped
from recommender.learning.pipeline_settings import configured
from recommender.management.server import add_server_arguments, key_of, stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ()  # needs no running Groundswell
    help = "Attack the recommender: in a log, in the benchmark, or live on this machine only."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="List the attacks and the honest look-alikes.")
        verb = verbs.add_parser("inject", help="Put an attack into a log.")
        verb.add_argument("file", type=Path)
        verb.add_argument(
            "--out",
            type=Path,
            required=True,
            help="File to write: the log with the attack in it, and the columns label and attack.",
        )
        _add_attack_arguments(verb)
        verb.add_argument("--at", type=float, help="Unix seconds at which the attack begins. Default: half-way.")
        verb = verbs.add_parser("synthetic", help="Write the log of an invented town.")
        verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--days", type=float, default=7.0)
        verb.add_argument("--readers", type=int, default=60_000)
        verb.add_argument("--seed", type=int, default=1)
        _add_run_arguments(verbs.add_parser("run", help="Run the benchmark."))
        verb = verbs.add_parser("vandals", help="Check the actors' scores against editors blocked on Wikipedia.")
        verb.add_argument(
            "--log", type=Path, help="The file wikipedia_vandals.parquet. Default: the one in the data folder."
        )
        verb = verbs.add_parser("live", help="Attack a running server on this machine.")
        add_server_arguments(verb)
        _add_attack_arguments(verb)
        verb.add_argument("--item", help="The item to push or to frame. Default: the benchmark's choice.")
        verb.add_argument("--variant", choices=VARIANTS, default="plain")
        verb.add_argument("--rate", type=float, default=100.0, help="Largest number of events per second (100).")
        verb.add_argument("--max-events", type=int, default=5000, help="Largest number of events in all (5000).")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['verb']}")(options)
        except (LogFileError, ValueError, OSError, pl.exceptions.PolarsError) as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        table = Table("code", "what", "goal", "how")
        for code, each in CATALOGUE.items():
            table.add_row(code, each.TITLE, each.GOAL, " ".join((each.__doc__ or "").split()))
        console = Console(file=cast(IO[str], self.stdout), width=None if self.stdout.isatty() else 140)
        console.print(table)

    def _inject(self, options: dict[str, Any]) -> None:
        log = inject_into_log.read_log(options["file"])
        at_s = options["at"] if options["at"] is not None else float(log["ts"][len(log) // 2])
        world = see(as_text(log), at_s, board=[])
        chosen = attack(options["attack"])(**_parameters(options))
        world = replace(world, board=world.popular[:20])
        plan = chosen.plan(world, n_actors=options["budget"], seed=options["seed"])
        injected = inject_into_log.inject(log, [(chosen.CODE, plan)])
        injected.write_parquet(options["out"])
        self.stdout.write(
            f"{chosen.CODE} {chosen.TITLE}: {plan.n_actors} accounts, {len(plan.rows)} events on"
            f" {', '.join(plan.targets)} from {at_s:.0f}; {len(injected):,} rows in {options['out']}"
        )

    def _synthetic(self, options: dict[str, Any]) -> None:
        log = Town(days=options["days"], n_readers=options["readers"], seed=options["seed"]).make()
        log.write_parquet(options["out"])
        self.stdout.write(f"{len(log):,} events of {log['actor'].n_unique():,} actors in {options['out']}")

    def _run(self, options: dict[str, Any]) -> None:
        if options["readme"] and not settings.IS_CHECKOUT:
            raise CommandError("--readme writes into the documents of a checkout, and this is an installation.")
        choice, logs = _choice(options)
        console = Console(stderr=True)
        began_at = time.monotonic()
        out = options["out"] or settings.WORK_DIR / "out" / "attack"
        out.mkdir(parents=True, exist_ok=True)
        cores = len(os.sched_getaffinity(0))
        found = whole_suite.measure(
            logs,
            choice,
            replace(configured(), secret=""),
            limit=options["limit"],
            is_honest=not (options["no_honest"] or options["pairs"]),
            n_processes=options["jobs"] or cores,
            say=lambda text: console.print(f"{time.monotonic() - began_at:6.0f} s  {text}", highlight=False),
        )
        how = documents.describe(
            found,
            command=_as_given(sys.argv[1:]),
            n_starts=choice.seeds,
            seed=choice.seed,
            took_s=time.monotonic() - began_at,
            cores=cores,
        )
        if options["pairs"]:
            _write_records(out, found)
            self.stdout.write(beside := documents.pairs(found, how=how))
            if options["readme"]:
                markers = (documents.OPEN_PAIRS, documents.CLOSE_PAIRS)
                page = settings.BASE_DIR / "docs" / "explanation" / "recommendations.md"
                documents.write_between(page, beside, markers=markers)
            return
        tables, short = documents.benchmark(found, how=how), documents.readme(found)
        _write(out, found, tables, short)
        self.stdout.write(documents.together(found, how=how))
        self.stdout.write(f"The raw results are in {out}. The run took {time.monotonic() - began_at:.0f} s.")
        if options["readme"]:
            documents.write_between(settings.BASE_DIR / "README.md", short)
            documents.write_between(settings.BASE_DIR / "docs" / "benchmark.md", tables)

    def _vandals(self, options: dict[str, Any]) -> None:
        path = options["log"] or whole_suite.data_folder() / "wikipedia_vandals.parquet"
        if not path.exists():
            raise CommandError(f"{path} does not exist. Name it with --log, or set {whole_suite.DATA_VARIABLE}.")
        found = wikipedia_vandals.check(path, replace(configured(), secret=""))
        self.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())

    def _live(self, options: dict[str, Any]) -> None:
        stop = threading.Event()
        sender = Live(
            options["url"], key_of(options), stop=stop, rate=options["rate"], max_events=options["max_events"]
        )
        with stop_on_signals(stop):
            try:
                sender.run(
                    attack(options["attack"])(**_parameters(options)),
                    n_actors=options["budget"],
                    seed=options["seed"],
                    target=options["item"],
                    variant=options["variant"],
                    say=self.stdout.write,
                )
            except Refused as error:
                raise CommandError(f"The server refuses the events. {error}") from None
            except Stopped:
                pass
        receipt = sender.receipt
        self.stdout.write(f"{receipt.accepted} accepted, {receipt.duplicates} duplicates, {dict(receipt.rejected)}")


def _add_attack_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--attack", required=True, choices=list(CATALOGUE), metavar="CODE", help="A code of `attack list`."
    )
    parser.add_argument("--budget", type=int, required=True, help="Largest number of accounts.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGET_CHOICES, help="Sort of item to attack. Default: the attack's own.")
    parser.add_argument("--camouflage", type=float, help="Share of acts on popular items, in [0, 1).")
    parser.add_argument("--duration", type=float, help="Length in seconds. Default: the attack's own.")


def _add_run_arguments(parser: CommandParser) -> None:
    parser.add_argument("--attacks", help="Codes of attacks, separated by commas. Default: all.")
    parser.add_argument(
        "--budgets", default="0.25,0.5,1,2,4", help="Budgets as multiples of the undefended price (0.25,0.5,1,2,4)."
    )
    parser.add_argument(
        "--margins",
        default="0.25,0.5,1,2,4",
        help="Further budgets against trust and full, as multiples of their own margin.",
    )
    parser.add_argument("--variants", default=",".join(VARIANTS), help="Any of plain, black-box, white-box.")
    parser.add_argument("--defences", default="none,forest,caps,trust,full,oracle")
    parser.add_argument("--seeds", type=int, default=3, help="Number of starts in each log (3).")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--log", action="append", help="A Parquet log, or `synthetic`. You may repeat it. Default: all logs found."
    )
    parser.add_argument("--limit", type=int, help="Largest number of rows to read of a log. Default: all.")
    parser.add_argument(
        "--no-honest",
        action="store_true",
        help="Leave out the runs without an attack, which measure the defence's cost.",
    )
    parser.add_argument("--out", type=Path, help="Folder for the raw results. Default: out/attack.")
    parser.add_argument("--jobs", type=int, help="Number of processes. Default: one per core.")
    parser.add_argument(
        "--quick", action="store_true", help="Run only a few attacks on a small town, in under a minute."
    )
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="Run only the attacks on lists of similar items, on a small town unless --log is given.",
    )
    parser.add_argument(
        "--readme",
        action="store_true",
        help="Write a short table into README.md and all tables into docs/benchmark.md, between their markers. With"
        " --pairs, write into docs/explanation/recommendations.md.",
    )


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in ("target", "camouflage")} | {"duration_s": options["duration"]}
    return {name: value for name, value in given.items() if value is not None}


def _choice(options: dict[str, Any]) -> tuple[Choice, list[str]]:
    """Return the choice of runs, and the logs.

    Raises ValueError for an unknown name.
    """
    if options["quick"]:
        return whole_suite.QUICK, options["log"] or [whole_suite.SMALL]
    if options["pairs"]:
        chosen = replace(whole_suite.PAIRS_ONLY, seeds=max(1, options["seeds"]), seed=options["seed"])
        return chosen, options["log"] or [whole_suite.SMALL]
    codes = _listed(options["attacks"]) if options["attacks"] else [*ATTACKS, *LOOK_ALIKES]
    for code in codes:
        attack(code)
    defences, variants = _listed(options["defences"]), _listed(options["variants"])
    for given, known in ((defences, tuple(full_tables.NAMES)), (variants, VARIANTS)):
        if unknown := set(given) - set(known):
            raise ValueError(f"There is no {', '.join(sorted(unknown))}. Choose from {', '.join(known)}.")
    if options["seeds"] < 1:
        raise ValueError("--seeds must be at least 1.")
    chosen = Choice(
        attacks=tuple(code for code in codes if code in ATTACKS),
        look_alikes=tuple(code for code in codes if code in LOOK_ALIKES),
        defences=tuple(name for name in full_tables.NAMES if name in defences),
        prices=tuple(float(each) for each in _listed(options["budgets"])),
        margins=tuple(float(each) for each in _listed(options["margins"])),
        variants=tuple(each for each in VARIANTS if each in variants),
        seeds=options["seeds"],
        seed=options["seed"],
    )
    return chosen, options["log"] or whole_suite.default_logs()


def _write(out: Path, found: Sequence[whole_suite.LogResult], tables: str, short: str) -> None:
    """Write everything into the folder of raw results.

    This is one line per run in a file per log, the other figures, and the text of both documents.
    """
    kept = {}
    _write_records(out, found)
    for each in found:
        kept[each.name] = {key: value for key, value in asdict(each).items() if key not in ("records", "pairs")}
    option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    (out / "summary.json").write_bytes(orjson.dumps(kept, option=option))
    (out / "benchmark.md").write_text(tables)
    (out / "readme.md").write_text(short)


def _write_records(out: Path, found: Sequence[whole_suite.LogResult]) -> None:
    for each in found:
        for name, records in ((each.name, each.records), (f"{each.name}-pairs", each.pairs)):
            lines = [orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY) for record in records]
            if lines:
                (out / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def _as_given(arguments: Sequence[str]) -> str:
    """Return the command without arguments that change no figure.

    These are the output folder and the number of processes.
    """
    kept, is_skipped = ["manage.py"], False
    for each in arguments:
        if not is_skipped and each not in ("--out", "--jobs"):
            kept.append(Path(each).name)
        is_skipped = each in ("--out", "--jobs")
    return " ".join(kept)


def _listed(text: str) -> Sequence[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
