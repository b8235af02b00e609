"""Test challengers against the champion on a time split, clean and attacked.

    Journal ──warm-up──┬──test──> candidate_pass.run: every Pipeline learns on, and is asked before it learns
                       └──> assaults, planned from the log alone, the same against each
    ──> Report: hits clean and attacked, gains of the attacks, costs, and the winner, if there is one

The test is prequential: all candidates learn through it, and answers count from the split on. So none is judged like
a nightly batch. A challenger wins if two things are true. The hit rate of its served list must be higher by the
margin, and by twice the error of the difference. And the attacks must not get more out of it than out of the
champion, beyond the same margin.

Memory: `n_bytes` decides how many Pipelines go over the log at once. With little memory the log is read several
times. Then every candidate's tables are also cut to the size that one candidate and its attacked copy may take
(`memory_bounds`). The report shows this.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from recommender.batch import factorisation, fixed_attacks, memory_bounds
from recommender.batch.candidate_pass import Entrant, StepSource, run, served
from recommender.batch.collect.merge_logs import Journal
from recommender.batch.fixed_attacks import Assault
from recommender.core.pipeline import Config
from recommender.core.quality.evaluation import Quality

CHAMPION = "champion"
TEST_SHARE = 0.3  # of the rows, at the end
MARGIN = 0.005
COPIES = 3  # of a state's bytes in memory: the Pipeline, its attacked copy, and the data of a step


class TooFewEvents(ValueError):
    """The log is too short to be split into a part to learn and a part to test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """The figures of one candidate.

    hr20, mrr20: of the list that readers get, over the test.
    hr20_attacked: of honest readers while attacks go on.
    hr20_unattacked: of honest readers in the same periods without the attacks.
    exposure: share of all attention to the list that the attacks got, a mean.
    false_s: seconds that a target was among the first ten, a mean.
    """

    name: str
    n_predictions: int
    hr20: float
    mrr20: float
    hr20_attacked: float | None = None
    hr20_unattacked: float | None = None
    exposure: float | None = None
    false_s: float | None = None
    events_per_s: float | None = None
    state_bytes: int | None = None
    is_servable: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a trial.

    winner: name of the challenger to deploy, or None. configs: by name.
    """

    rows: list[TrialRow]
    winner: str | None
    reason: str
    margin: float
    n_events: int
    split_ms: int
    n_attacks: int
    configs: Mapping[str, Config] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report without the Configs."""
        kept = {name: getattr(self, name) for name in self.__slots__ if name not in ("rows", "configs")}
        return kept | {"rows": [asdict(row) for row in self.rows]}

    def table(self) -> Table:
        """Return a table for a terminal."""
        drawn = Table(title=f"{served()} list, {self.n_events:,} events, {self.n_attacks} attacks")
        heads = (
            "model",
            "HR@20",
            "MRR@20",
            "attacked HR@20",
            "(without)",
            "attacks get",
            "false s",
            "events/s",
            "MiB",
        )
        for name in heads:
            drawn.add_column(name, justify="left" if name == "model" else "right", no_wrap=name == "model")
        for row in self.rows:
            name = f"{row.name}{' *' if row.name == self.winner else ''}{'' if row.is_servable else ' (yardstick)'}"
            drawn.add_row(
                name,
                f"{row.hr20:.4f}",
                f"{row.mrr20:.4f}",
                _figure(row.hr20_attacked, ".4f"),
                _figure(row.hr20_unattacked, ".4f"),
                _figure(row.exposure, ".2%"),
                _figure(row.false_s, ",.0f"),
                _figure(row.events_per_s, ",.0f"),
                _figure(row.state_bytes and row.state_bytes / 2**20, ",.1f"),
            )
        return drawn


def hold(
    journal: Journal,
    champion: Config,
    challengers: Mapping[str, Config],
    *,
    margin: float = MARGIN,
    n_bytes: int | None = None,
    with_yardstick: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Hold a trial, as the module's docstring describes it.

    Raises LogFileError, and TooFewEvents for a log of fewer than two seconds.
    """
    configs = {name: replace(config, secret="") for name, config in {CHAMPION: champion, **challengers}.items()}
    if n_bytes is not None:
        configs = {name: memory_bounds.narrowed(config, n_bytes // COPIES) for name, config in configs.items()}
    split_ms = split_of(journal.rows)
    plans = fixed_attacks.plan(journal.rows, configs[CHAMPION], fixed_attacks.starts(journal.rows, split_ms))
    rows = list(_lead(journal, configs, plans, split_ms, n_bytes, on_progress))
    if configs[CHAMPION].max_pairs < champion.max_pairs:
        share = configs[CHAMPION].max_pairs / champion.max_pairs
        rows[0] = replace(rows[0], note=f"memory was short, so all tables were cut to {share:.0%} of their bounds")
    winner, reason = decide(rows, margin)
    if with_yardstick:
        rows.append(_yardstick(journal, split_ms, n_bytes))
    return Report(rows, winner, reason, margin, journal.n_rows, split_ms, len(plans), configs)


def split_of(rows: pl.LazyFrame, share: float = TEST_SHARE) -> int:
    """Return the time (ms, a whole second) after which this share of the rows lies.

    Raises TooFewEvents.
    """
    found = rows.select(
        pl.col("ts").quantile(1 - share).alias("at"),
        pl.col("ts").min().alias("first"),
        pl.col("ts").max().alias("last"),
    )
    at, first, last = found.collect(engine="streaming").row(0)
    if at is None or last - first < 2:
        raise TooFewEvents("there are too few events to split in time: give a log of more than two seconds")
    return int(max(at, first + 1)) * 1000


def decide(rows: Sequence[TrialRow], margin: float) -> tuple[str | None, str]:
    """Return the winner and the reason.

    The first row must be the champion's.
    """
    champion, *others = [row for row in rows if row.is_servable]
    best = max(others, key=lambda row: row.hr20, default=None)
    better = [row for row in others if row.hr20 - champion.hr20 >= max(margin, 2 * _error(row, champion))]
    sound = [row for row in better if _stands(row, champion, margin)]
    if sound:
        winner = max(sound, key=lambda row: row.hr20)
        return winner.name, f"{winner.name}: HR@20 {winner.hr20:.4f} against {champion.hr20:.4f}"
    if better:
        return None, f"{better[0].name} hits more often, but attacks do more harm to it"
    if best is None:
        return None, "there is no challenger"
    return None, f"the best challenger, {best.name}, has HR@20 {best.hr20:.4f} against {champion.hr20:.4f}"


def _stands(row: TrialRow, champion: TrialRow, margin: float) -> bool:
    """Return whether attacks do no more harm to a candidate than to the champion.

    They must get no more out of it and cost its readers no more hits, beyond the margin.
    """
    if row.exposure is None or champion.exposure is None:
        return True
    lost = (row.hr20_unattacked or 0) - (row.hr20_attacked or 0)
    theirs = (champion.hr20_unattacked or 0) - (champion.hr20_attacked or 0)
    return row.exposure <= champion.exposure + margin and lost <= theirs + margin


def _error(one: TrialRow, other: TrialRow) -> float:
    """Return the standard error of the difference of two hit rates.

    It assumes different readers. They are the same readers, so the result is rather too large.
    """
    return float(np.sqrt(sum(row.hr20 * (1 - row.hr20) / max(1, row.n_predictions) for row in (one, other))))


def _lead(
    log: StepSource,
    configs: Mapping[str, Config],
    plans: Sequence[Assault],
    split_ms: int,
    n_bytes: int | None,
    on_progress: Callable[[int], None] | None,
) -> Iterator[TrialRow]:
    """Yield the rows of all candidates, as many at once as the memory allows.

    Without a bound all run at once. With a bound the champion runs first. The size of its state decides how many
    follow at once.
    """
    names, beside = list(configs), len(configs) if n_bytes is None else 1
    while names:
        now, names = names[:beside], names[beside:]
        entrants = [Entrant(name, configs[name], assaults=plans, split_ms=split_ms) for name in now]
        run(log, entrants, on_progress=on_progress)
        found = [_row(entrant) for entrant in entrants]
        if n_bytes is not None:
            largest = max(row.state_bytes or 1 for row in found)
            beside = max(1, n_bytes // (COPIES * largest))
        del entrants
        yield from found


def _row(entrant: Entrant) -> TrialRow:
    clean: Quality = entrant.quality(served())
    attacked, unattacked = entrant.under_attack(served())
    is_attacked = bool(entrant.sieges)
    return TrialRow(
        name=entrant.name,
        n_predictions=clean.n,
        hr20=clean.hit_rate,
        mrr20=clean.mean_reciprocal_rank,
        hr20_attacked=attacked.hit_rate if is_attacked else None,
        hr20_unattacked=unattacked.hit_rate if is_attacked else None,
        exposure=entrant.exposure if is_attacked else None,
        false_s=entrant.false_s if is_attacked else None,
        events_per_s=entrant.pipeline.n_events / entrant.step_s if entrant.step_s else None,
        state_bytes=len(entrant.pipeline.to_bytes()),
    )


def _yardstick(journal: Journal, split_ms: int, n_bytes: int | None) -> TrialRow:
    nothing = TrialRow(name="factorisation", n_predictions=0, hr20=0.0, mrr20=0.0, is_servable=False)
    if not factorisation.is_there():
        return replace(nothing, note="not measured: `implicit` is not installed")
    began_at = time.perf_counter()
    found = factorisation.measure(journal.rows, split_ms / 1000, n_bytes=n_bytes or 2**31)
    if found is None:
        return replace(nothing, note="not measured: there is too little to fit")
    took_s, n = time.perf_counter() - began_at, max(1, found.n)
    return replace(
        nothing,
        n_predictions=found.n,
        hr20=found.hits / n,
        mrr20=found.reciprocal_ranks / n,
        state_bytes=found.n_bytes,
        note=f"ALS fitted on {found.n_fitted:,} acts in {took_s:.0f} s (the learner cannot serve it)",
    )


def _figure(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)
