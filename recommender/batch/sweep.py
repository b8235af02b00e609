"""Sweep a setting over a log: how fast a list follows, and how hard it is to move.

    Journal ──> candidate_pass.run: an Entrant a value ──> SweepPoint: adaptivity, inertia ──> table, picture, advice

A high learning rate, which for a count is a short half-life, adapts fast and forgets fast. A low one has inertia and
resists noise. Neither end is right for all sites, so it is measured on the site's own log.

    adaptivity   of the acts of stories' first minutes, the share that found its story among the first 20
    damage       share of all attention to the served list that the fixed attacks got (see `fixed_attacks`)
    churn        share of the served list that is replaced in a minute, stories and all

The recommended value has the highest worth: hits plus hits in stories' first minutes, minus damage, minus churn. All
four are shares, and a point of each counts alike. If you weigh them differently, read the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from rich.table import Table

from recommender.batch import challenger_trial, fixed_attacks, story_spikes
from recommender.batch.candidate_pass import NOTED_DEPTH, Entrant, StepSource, run, served
from recommender.batch.collect.merge_logs import Journal
from recommender.batch.config_variants import get, vary
from recommender.batch.fixed_attacks import Assault
from recommender.batch.story_spikes import Spike
from recommender.core.pipeline import Config

HALF_LIVES_S = (60, 150, 300, 600, 1800, 3600)
FIRST_MINUTES = 10
EXPLANATION = (
    "High adapts fast and forgets fast. Low has inertia and resists noise. (A short half-life is a high rate.)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """The results of one value, as the module's docstring defines them.

    hr20, mrr20: of the list that readers get, over the test.
    """

    value: str
    hr20: float
    mrr20: float
    adaptivity: float | None
    damage: float | None
    false_s: float | None
    churn: float

    @property
    def worth(self) -> float:
        """Return the worth, as the module's docstring defines it."""
        return self.hr20 + (self.adaptivity or 0.0) - (self.damage or 0.0) - self.churn


@dataclass(frozen=True, slots=True)
class Sweep:
    """The results of a sweep.

    path: the setting. now: its value in the original Config.
    """

    path: str
    now: str
    points: list[SweepPoint]
    recommended: str
    n_events: int
    n_stories: int
    n_attacks: int

    def as_json(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in self.__slots__ if name != "points"}
        return kept | {
            "points": [asdict(point) | {"worth": point.worth} for point in self.points],
            "explanation": EXPLANATION,
        }

    def table(self) -> Table:
        title = f"{self.path}: {self.n_events:,} events, {self.n_stories} stories, {self.n_attacks} attacks"
        drawn = Table(title=title, caption=EXPLANATION)
        for name in (
            "value",
            "hits, first minutes",
            "attacks get",
            "false s",
            "churn a minute",
            "HR@20",
            "MRR@20",
            "worth",
            "",
        ):
            drawn.add_column(name, justify="left" if name in ("value", "") else "right")
        for point in self.points:
            words = ["recommended"] * (point.value == self.recommended) + ["now"] * (point.value == self.now)
            drawn.add_row(
                point.value,
                "-" if point.adaptivity is None else f"{point.adaptivity:.3f}",
                "-" if point.damage is None else f"{point.damage:.2%}",
                "-" if point.false_s is None else f"{point.false_s:,.0f}",
                f"{point.churn:.2%}",
                f"{point.hr20:.4f}",
                f"{point.mrr20:.4f}",
                f"{point.worth:.4f}",
                ", ".join(words),
            )
        return drawn


def sweep(
    journal: Journal,
    config: Config,
    path: str,
    values: Sequence[Any],
    *,
    beside: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Sweep:
    """Measure values of a setting on a log, and recommend one.

    Raises LogFileError, and ValueError for an unknown setting.

    `beside`: number of Pipelines in one pass over the log.
    """
    config = replace(config, secret="")
    configs = {str(value): vary(config, path, value) for value in values}
    split_ms = challenger_trial.split_of(journal.rows)
    stories = story_spikes.find(journal.rows)
    plans = fixed_attacks.plan(journal.rows, config, fixed_attacks.starts(journal.rows, split_ms))
    points = [
        _point(entrant, stories)
        for entrant in _lead(journal, configs, stories, plans, split_ms, beside or len(configs), on_progress)
    ]
    now = str(get(config, path))
    return Sweep(path, now, points, recommend(points), journal.n_rows, len(stories), len(plans))


def recommend(points: Sequence[SweepPoint]) -> str:
    """Return the value with the highest worth, the first of equal ones."""
    return max(points, key=lambda point: point.worth).value


def adaptivity(entrant: Entrant, stories: Sequence[Spike]) -> float | None:
    """Return the share of acts in stories' first minutes that found the story listed.

    It is the mean over stories.
    """
    shares = []
    for story, acts in zip(stories, story_spikes.first_minutes(stories, FIRST_MINUTES), strict=True):
        at_ms, places = entrant.notes.places(story.item)
        if not len(acts) or not len(at_ms):
            continue
        # the last list before the second of the act
        last = np.searchsorted(at_ms, acts // 1000 * 1000, "right") - 1
        shares.append(float(np.mean((last >= 0) & (places[last] <= NOTED_DEPTH))))
    return float(np.mean(shares)) if shares else None


def _lead(
    log: StepSource,
    configs: Mapping[str, Config],
    stories: Sequence[Spike],
    plans: Sequence[Assault],
    split_ms: int,
    beside: int,
    on_progress: Callable[[int], None] | None,
) -> Any:
    names, windows = list(configs), [story.window for story in stories]
    for start in range(0, len(names), beside):
        entrants = [
            Entrant(name, configs[name], windows=windows, assaults=plans, split_ms=split_ms)
            for name in names[start : start + beside]
        ]
        run(log, entrants, on_progress=on_progress)
        yield from entrants


def _point(entrant: Entrant, stories: Sequence[Spike]) -> SweepPoint:
    quality = entrant.quality(served())
    return SweepPoint(
        value=entrant.name,
        hr20=quality.hit_rate,
        mrr20=quality.mean_reciprocal_rank,
        adaptivity=adaptivity(entrant, stories),
        damage=entrant.exposure if entrant.sieges else None,
        false_s=entrant.false_s if entrant.sieges else None,
        churn=entrant.churn.share,
    )
