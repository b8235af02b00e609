"""Run the whole benchmark: first the honest cost, then the attacks.

    a log ──> starts ──┬── fold, a defence each ──> states at the starts (files), pages of an honest diary
                       └── (log, start, defence) ──> records, pairs; (log, start) ──> prices; bounded ──> tightness

There are as many processes as cores. Every task is a function of its arguments and of the files that the folds left.
Results are put together in the order of the tasks, and not in the order in which they finish. So the same seed gives
the same records on one process or on ten. Processes are spawned, and each opens a log once.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from recommender.core.pipeline import Config
from recommender.lab.attack.catalogue.invented_site import Town
from recommender.lab.attack.trials import benchmark, honest_cost, margin_tightness, measured_prices, pair_trials
from recommender.lab.attack.trials.benchmark import Choice
from recommender.lab.attack.trials.honest_cost import Pages
from recommender.lab.attack.trials.single_run import WARM_STEP_MS, TrialSite, WarmStates

SYNTHETIC, SMALL = "synthetic", "small-town"
TOWNS: dict[str, dict[str, Any]] = {SYNTHETIC: {}, SMALL: {"days": 2.2, "n_readers": 40_000}}
TOWN_SEED = 1
MAX_OPEN = 2  # logs that a process keeps open
DATA_VARIABLE = "GROUNDSWELL_DATA"
MAIN_LOG = "globo_news.parquet"
FOLDED = ("full", "trust", "caps", "none")  # defences whose honest cost is measured, the slowest first
SLOWEST_FIRST = ("full", "forest", "trust", "caps", "links", "none", "oracle")
QUICK = Choice(
    attacks=("A1", "A2", "A4", "A9", "A10", "A12"),
    look_alikes=("B1", "B2"),
    prices=(1.0, 4.0),
    margins=(0.5, 2.0),
    variants=("plain", "white-box"),
    pairs=(),
    seeds=1,
)
PAIRS_ONLY = Choice(attacks=(), look_alikes=(), defences=())

Say = Callable[[str], None]


def _mute(text: str) -> None:
    """Say nothing."""


class LogChoice(NamedTuple):
    """A log file, and the most rows to read from it."""

    name: str
    config: Config
    limit: int | None = None


@dataclass(slots=True)
class LogResult:
    """All results of one log.

    took_s: CPU time by stage, summed over processes.
    """

    name: str
    n_events: int = 0
    starts_s: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    honest: dict[str, Any] = field(default_factory=dict)
    prices: list[list[dict[str, Any]]] = field(default_factory=list)
    tightness: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    took_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Task:
    """A function of this module with its arguments.

    log, kind: the log and the part of the results that it belongs to.
    """

    log: int
    kind: str
    call: Callable[..., Any]
    args: tuple[Any, ...]


def data_folder() -> Path:
    """Return the folder of real logs, which need not exist."""
    return Path(os.environ.get(DATA_VARIABLE) or Path(__file__).parents[5] / "shared" / "data")


def default_logs() -> list[str]:
    """Return the main real log, if it exists, and the invented town."""
    main = data_folder() / MAIN_LOG
    return [str(main)] * main.exists() + [SYNTHETIC]


def open_site(log: LogChoice) -> TrialSite:
    """Read a log file, whole or up to its limit."""
    return TrialSite.read(Path(log.name), log.config, limit=log.limit)


def _made(name: str, folder: str) -> str:
    """Return the file of a log. A town is made once and read by every process."""
    if name not in TOWNS:
        return name
    path = Path(folder) / f"{name}.parquet"
    Town(seed=TOWN_SEED, **TOWNS[name]).make().write_parquet(path)
    return str(path)


def measure(
    names: Sequence[str],
    choice: Choice,
    config: Config,
    *,
    limit: int | None = None,
    is_honest: bool = True,
    n_processes: int = 1,
    say: Say = _mute,
) -> list[LogResult]:
    """Run the benchmark on some logs, in their order."""
    found = []
    with tempfile.TemporaryDirectory(prefix="groundswell-attack-") as folder, _runner(n_processes, say) as run:
        logs = [LogChoice(_made(name, folder), config, limit) for name in names]
        starts: list[list[int]] = []
        is_mixed: list[bool] = []
        spikes: list[pl.DataFrame] = []
        for log in logs:
            site = _site(log)
            starts.append(site.starts(choice.seeds, seed=choice.seed))
            is_mixed.append(site.without_machines() is not site)
            if is_honest:
                spikes.append(honest_cost.find_spikes(site.without_machines(), until_ms=_end_ms(site)))
            found.append(LogResult(site.name, len(site.batch), [at_ms / 1000 for at_ms in starts[-1]]))
            say(f"{site.name}: {len(site.batch):,} events, {choice.seeds} start times")
        if n_processes > 1:
            _open.clear()
        diaries: list[dict[str, Pages]] = [{} for _ in logs]
        for task, (pages, took_s) in run(list(_folds(logs, starts, is_mixed, choice, folder, is_honest=is_honest))):
            if pages is not None:
                diaries[task.log][task.args[1]] = pages
            _spent(found[task.log], task.kind, took_s)
        for number, each in enumerate(found):
            if is_honest:
                each.honest = _honest(diaries[number], spikes[number])
                say(f"{each.name}: measured the delay of {len(spikes[number])} spikes")
        del diaries
        for task, (answer, took_s) in run(list(_attacks(logs, starts, choice, folder))):
            results: list[Any] = getattr(found[task.log], task.kind)
            results += answer
            _spent(found[task.log], task.kind, took_s)
    return found


def _folds(
    logs: Sequence[LogChoice],
    starts: Sequence[list[int]],
    is_mixed: Sequence[bool],
    choice: Choice,
    folder: str,
    *,
    is_honest: bool,
) -> Iterator[_Task]:
    """List the folds, the slowest defences first.

    If a log has no machines, one fold makes the states and the honest diary.
    """
    for name in SLOWEST_FIRST:
        for number, log in enumerate(logs):
            is_told = is_honest and name in FOLDED and (name in choice.defences or name in ("none", "caps"))
            is_kept = name != "oracle" and (name in (*choice.defences, *choice.pairs) or name == "none")
            is_both = is_told and is_kept and not is_mixed[number]
            if is_kept:
                yield _Task(number, "folds", _fold, (log, name, starts[number], folder, is_both))
            if is_told and not is_both:
                yield _Task(number, "folds", _tell, (log, name))


def _attacks(logs: Sequence[LogChoice], starts: Sequence[list[int]], choice: Choice, folder: str) -> Iterator[_Task]:
    for number, log in enumerate(logs):
        for start in enumerate(starts[number]):
            for name in choice.defences:
                yield _Task(number, "records", _against, (log, name, starts[number], folder, start, choice))
            if {"caps", "trust"} <= set(choice.defences):
                yield _Task(number, "prices", _prices, (log, starts[number], folder, start))
            for name in [each for each in margin_tightness.BOUNDED if each in choice.defences]:
                args = (log, name, starts[number], folder, start, choice.seed)
                yield _Task(number, "tightness", _tightness, args)
            for name in choice.pairs:
                yield _Task(number, "pairs", _pairs, (log, name, starts[number], folder, start, choice.seed))


# -- tasks: each is a function of its arguments and the folder, and runs in any process --------------------------


def _fold(log: LogChoice, name: str, starts_ms: list[int], folder: str, is_told: bool) -> Pages | None:
    """Save the states at the starts in the folder.

    If asked for, also return the honest diary of the whole log.
    """
    site = _site(log)
    warm = WarmStates(site, starts_ms, Path(folder))
    if not is_told:
        warm.fold(name)
        return None
    diary = honest_cost.Diary(site)
    warm.fold(name, until_ms=_end_ms(site), on_step=diary.note)
    return diary.pages()


def _tell(log: LogChoice, name: str) -> Pages:
    """Return the honest diary of the log without machines.

    A defence that removes machines would look late next to a list that counts them.
    """
    site = _site(log).without_machines()
    diary = honest_cost.Diary(site)
    WarmStates(site, [_end_ms(site)]).fold(name, on_step=diary.note)
    return diary.pages()


def _against(
    log: LogChoice, name: str, starts_ms: list[int], folder: str, start: tuple[int, int], choice: Choice
) -> list[dict[str, Any]]:
    site = _site(log)
    return list(benchmark.against(name, site, choice, WarmStates(site, starts_ms, Path(folder)), start))


def _prices(log: LogChoice, starts_ms: list[int], folder: str, start: tuple[int, int]) -> list[list[dict[str, Any]]]:
    site = _site(log)
    return [
        [
            asdict(price)
            for price in measured_prices.measure(site, start[1], WarmStates(site, starts_ms, Path(folder)))
        ]
    ]


def _tightness(
    log: LogChoice, name: str, starts_ms: list[int], folder: str, start: tuple[int, int], seed: int
) -> list[dict[str, Any]]:
    site = _site(log)
    return margin_tightness.measure(name, site, WarmStates(site, starts_ms, Path(folder)), start, seed=seed)


def _pairs(
    log: LogChoice, name: str, starts_ms: list[int], folder: str, start: tuple[int, int], seed: int
) -> list[dict[str, Any]]:
    site = _site(log)
    return list(pair_trials.against(name, site, WarmStates(site, starts_ms, Path(folder)), start, seed=seed))


_open: dict[str, TrialSite] = {}  # by log, in this process


def _site(log: LogChoice) -> TrialSite:
    key = repr(log)
    if key not in _open:
        while len(_open) >= MAX_OPEN:
            del _open[next(iter(_open))]
        _open[key] = open_site(log)
    return _open[key]


def _end_ms(site: TrialSite) -> int:
    return int(site.batch.received_ms[-1]) // WARM_STEP_MS * WARM_STEP_MS


# -- putting together --------------------------------------------------------------------------------------------


def _honest(diaries: dict[str, Pages], spikes: pl.DataFrame) -> dict[str, Any]:
    """Return the cost of each defence for the readers of the whole log.

    It includes how late each defence is with spikes.
    """
    found = {name: diaries[name].summary for name in reversed(FOLDED) if name in diaries}
    for name, figures in found.items():
        figures["lateness"] = honest_cost.lateness(honest_cost.delays(spikes, diaries["caps"], diaries[name]))
    # Full has trust, which reorders the list, and the screen. This is the cost of the screen.
    if {"trust", "full"} <= diaries.keys():
        alone = honest_cost.lateness(honest_cost.delays(spikes, diaries["trust"], diaries["full"]))
        found["full"]["lateness_by_screen"] = alone
    return found


def _spent(found: LogResult, kind: str, took_s: float) -> None:
    found.took_s[kind] = round(found.took_s.get(kind, 0.0) + took_s, 1)


def _timed(task: _Task) -> tuple[Any, float]:
    began_at = time.process_time()
    answer = task.call(*task.args)
    return answer, time.process_time() - began_at


Run = Callable[[list[_Task]], Iterator[tuple[_Task, Any]]]


@contextmanager
def _runner(n_processes: int, say: Say) -> Iterator[Run]:
    """Give a function that runs tasks and yields answers in the order of the tasks."""

    def told(task: _Task, number: int, n: int, took_s: float) -> None:
        what = [each for each in task.args if isinstance(each, str) and not os.path.isabs(each)]
        say(f"{number}/{n}  {Path(task.args[0].name).stem} {task.kind} {' '.join(what)} ({took_s:.0f} s)")

    if n_processes == 1:

        def here(tasks: list[_Task]) -> Iterator[tuple[_Task, Any]]:
            for number, task in enumerate(tasks, 1):
                answer = _timed(task)
                told(task, number, len(tasks), answer[1])
                yield task, answer

        yield here
        return

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:

        def spread(tasks: list[_Task]) -> Iterator[tuple[_Task, Any]]:
            order = sorted(range(len(tasks)), key=lambda row: _rank(tasks[row]))
            rows: dict[Future[Any], int] = {pool.submit(_timed, tasks[row]): row for row in order}
            answers: dict[int, Any] = {}
            for number, future in enumerate(as_completed(rows), 1):
                row = rows[future]
                answers[row] = future.result()
                told(tasks[row], number, len(tasks), answers[row][1])
            for row, task in enumerate(tasks):
                yield task, answers[row]

        yield spread


def _rank(task: _Task) -> tuple[int, int]:
    """Rank slow tasks first, one log at a time."""
    name = next((each for each in task.args[1:2] if isinstance(each, str)), "none")
    return task.log if task.kind != "folds" else 0, SLOWEST_FIRST.index(name)
