"""Compare daily batch, hourly batch and online learning on one log.

    Journal ──> candidate_pass.run: one Pipeline, whose evaluation is given the batch lists as they are published
            └──> BatchJob, daily and hourly: reads its span of the files, counts, publishes its first places

A batch list has the most read items of the day or hour before, and is published the moment that is over. No real job
is that fast, so the comparison flatters the batch. All lists are asked about the same clicks in the same second, by
the
same code and under the same rule: an actor's first click on an item, with items it has seen left out of the list.

A story's time is from its break (`recommender.batch.story_spikes`) to its first second among the first 20.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table

from recommender.batch import story_spikes
from recommender.batch.candidate_pass import NOTED_DEPTH, Entrant, run
from recommender.batch.collect.merge_logs import Journal
from recommender.batch.story_spikes import Spike
from recommender.core.events import Encoder, EventBatch
from recommender.core.pipeline import Config
from recommender.core.quality import Evaluation
from recommender.core.quality.evaluation import LISTS, Quality
from recommender.core.trend.trend_columns import LIST_DEPTH, Shown
from recommender.core.vocabulary import DAY_MS, HOUR_MS

DAILY, HOURLY, ONLINE, PERSONAL = "daily batch", "hourly batch", "online", "online, personalised"
_IN_EVALUATION = {DAILY: "daily", HOURLY: "steady", ONLINE: "trending", PERSONAL: "personalised"}


class Published(Evaluation):
    """An evaluation that also asks about the lists of batch jobs.

    They take the place of two lists that it makes itself. Other users of those two lists still see the originals.
    """

    lists: dict[str, NDArray[np.uint64]]

    def publish(self, name: str, keys: NDArray[np.uint64]) -> None:
        """Use this list from the next question on."""
        self.lists = {**getattr(self, "lists", {}), name: keys}

    def shown(self, trending: NDArray[np.uint64], n_events: int) -> Shown:
        lists, nothing = getattr(self, "lists", {}), np.empty(0, np.uint64)
        shown = super().shown(trending, n_events)
        return shown._replace(daily=lists.get(DAILY, nothing), steady=lists.get(HOURLY, nothing))


@dataclass(slots=True)
class BatchJob:
    """A batch job that counts its span again each time one is over.

    lists: (published at, first 20 items). Those of the last day are kept in memory.
    n_bytes: the most memory its rows took. n_rows: the most rows it read.
    """

    name: str
    span_ms: int
    lists: list[tuple[int, list[str]]] = field(default_factory=list)
    train_s: float = 0.0
    n_bytes: int = 0
    n_rows: int = 0
    _due_ms: int = 0

    def publish(self, now_ms: int, journal: Journal, evaluation: Published, encoder: Encoder) -> None:
        """Publish the list that is due, before anything of that time is learned."""
        if not self._due_ms:
            self._due_ms = (now_ms // self.span_ms + 1) * self.span_ms
        if now_ms < self._due_ms:
            return
        at_ms = now_ms // self.span_ms * self.span_ms
        began_at = time.process_time()
        items = self._train(journal, at_ms)
        self.train_s += time.process_time() - began_at
        self.lists.append((at_ms, items[:NOTED_DEPTH]))
        evaluation.publish(self.name, encoder.keys(items))
        self._due_ms = at_ms + self.span_ms

    def _train(self, journal: Journal, until_ms: int) -> list[str]:
        span = pl.col("ts").is_between((until_ms - self.span_ms) / 1000, until_ms / 1000, closed="left")
        rows = journal.rows.filter(span).select(pl.col("item").cast(pl.String)).collect(engine="streaming")
        self.n_bytes, self.n_rows = max(self.n_bytes, int(rows.estimated_size())), max(self.n_rows, len(rows))
        counts = rows["item"].value_counts().sort(["count", "item"], descending=[True, False])
        return counts["item"].head(LIST_DEPTH).to_list()

    def appears_after_s(self, spike: Spike) -> float | None:
        """Return the seconds from a story's break to the first list that shows it.

        It is 0 if the list showed it already, and None if no list of the next 25 hours does.
        """
        before = [items for at_ms, items in self.lists if at_ms <= spike.broke_ms][-1:]
        if before and spike.item in before[0]:
            return 0.0
        end_ms = spike.broke_ms + DAY_MS + HOUR_MS
        came = [at for at, items in self.lists if spike.broke_ms < at <= end_ms and spike.item in items]
        return (came[0] - spike.broke_ms) / 1000 if came else None

    def place(self, spike: Spike, at_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the story's place at these times."""
        published = np.array([at for at, _ in self.lists], np.int64)
        places = np.array([_place(items, spike.item) for _, items in self.lists] + [NOTED_DEPTH + 1], np.int64)
        return places[np.searchsorted(published, at_ms, "right") - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WayToLearn:
    """The results of one way to learn.

    appears_s: by story, None if it never appears. hours: (ms, predictions, hits) of each hour.
    """

    name: str
    n_predictions: int
    hr20: float
    mrr20: float
    appears_s: list[float | None]
    train_s: float
    memory_bytes: int
    kept_bytes: int
    hours: list[tuple[int, int, int]]

    @property
    def median_s(self) -> float | None:
        """Return the seconds until half of the stories are listed.

        It is None if half of them never are.
        """
        ranked = sorted(np.inf if each is None else each for each in self.appears_s)
        middle = ranked[len(ranked) // 2] if ranked else np.inf
        return None if np.isinf(middle) else float(middle)

    @property
    def n_never(self) -> int:
        return sum(each is None for each in self.appears_s)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of a comparison.

    ways: daily, hourly, online and, if there is one, personalised.
    places: places of the largest story at `at_ms`, by way. Both are empty if no story broke.
    """

    ways: list[WayToLearn]
    spikes: list[Spike]
    n_events: int
    at_ms: NDArray[np.int64]
    places: dict[str, NDArray[np.int64]]

    def as_json(self) -> dict[str, Any]:
        stories = [
            {"item": spike.item, "acts": spike.n, "baseline": spike.baseline, "broke_ms": spike.broke_ms}
            | {"appears_s": {way.name: way.appears_s[number] for way in self.ways if way.appears_s}}
            for number, spike in enumerate(self.spikes)
        ]
        ways = [asdict(way) | {"median_s": way.median_s, "never": way.n_never} for way in self.ways]
        return {"events": self.n_events, "ways": ways, "stories": stories}

    def table(self) -> Table:
        drawn = Table(title=f"{self.n_events:,} events, {len(self.spikes)} stories that broke")
        for name in ("", *(way.name for way in self.ways)):
            drawn.add_column(name, justify="right" if name else "left", no_wrap=not name)
        rows: list[tuple[str, Callable[[WayToLearn], str]]] = [
            ("HR@20", lambda way: f"{way.hr20:.4f}"),
            ("MRR@20", lambda way: f"{way.mrr20:.4f}"),
            ("largest story listed after, s", lambda way: _of_stories(way, lambda: _seconds(way.appears_s[0]))),
            ("median story, s", lambda way: _of_stories(way, lambda: _seconds(way.median_s))),
            (
                "stories not listed within a day, or by the end",
                lambda way: _of_stories(way, lambda: str(way.n_never)),
            ),
            ("seconds of a core for training", lambda way: f"{way.train_s:,.2f}"),
            ("memory, MiB", lambda way: f"{way.memory_bytes / 2**20:,.1f}"),
            ("bytes kept to go on, MiB", lambda way: f"{way.kept_bytes / 2**20:,.1f}"),
        ]
        for name, figure in rows:
            drawn.add_row(name, *(figure(way) for way in self.ways))
        return drawn


def compare(
    journal: Journal,
    config: Config,
    *,
    largest: int = story_spikes.LARGEST,
    on_progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Compare the ways to learn in one pass over the log.

    Memory: a Pipeline, a day of items for the daily job, and the notes. Raises LogFileError.
    """
    stories = story_spikes.find(journal.rows, largest=largest)
    entrant = Entrant(ONLINE, config, windows=[story.window for story in stories])
    entrant.pipeline.evaluation.__class__ = Published  # the same state with other lists
    evaluation: Any = entrant.pipeline.evaluation
    jobs = {DAILY: BatchJob(DAILY, DAY_MS), HOURLY: BatchJob(HOURLY, HOUR_MS)}

    def publish(batch: EventBatch) -> None:
        now_ms = int(batch.received_ms[0])
        for job in jobs.values():
            job.publish(now_ms, journal, evaluation, entrant.pipeline.encoder)

    run(journal, [entrant], before=publish, on_progress=on_progress)
    file_bytes = sum(file.stat().st_size for file in journal.files)
    state_bytes = len(entrant.pipeline.to_bytes())
    ways = []
    for name, listed in _IN_EVALUATION.items():
        if listed not in LISTS:
            continue
        job, total = jobs.get(name), entrant.pipeline.evaluation.total(listed)
        appears = [job.appears_after_s(story) if job else _appears(entrant, story) for story in stories]
        ways.append(
            WayToLearn(
                name=name,
                n_predictions=total.n,
                hr20=total.hit_rate,
                mrr20=total.mean_reciprocal_rank,
                appears_s=[] if name == PERSONAL else appears,
                train_s=job.train_s if job else entrant.step_s,
                memory_bytes=job.n_bytes if job else state_bytes,
                kept_bytes=round(file_bytes * job.n_rows / max(1, journal.n_rows)) if job else state_bytes,
                hours=_hours(entrant, listed),
            )
        )
    at_ms, places = _largest(entrant, jobs, stories)
    return Comparison(ways, stories, entrant.pipeline.n_events, at_ms, places)


def _appears(entrant: Entrant, story: Spike) -> float | None:
    """Return the seconds from a story's break to its first listing.

    It is 0 if the story was listed already, and None if it did not appear while it was followed.
    """
    at_ms, places = entrant.notes.places(story.item)
    came = at_ms[(places <= NOTED_DEPTH) & (at_ms > story.broke_ms) & (at_ms <= story.window[1])]
    before = places[at_ms <= story.broke_ms][-1:]
    if len(before) and before[0] <= NOTED_DEPTH:
        return 0.0
    return float(came[0] - story.broke_ms) / 1000 if len(came) else None


def _hours(entrant: Entrant, listed: str) -> list[tuple[int, int, int]]:
    """Return predictions and hits of each hour.

    The last hour may be incomplete.
    """
    at = LISTS.index(listed)
    total = entrant.pipeline.evaluation.total(listed).places
    starts = [(hour_ms, places[at]) for hour_ms, places in entrant.hours]
    ends = [*(places for _, places in starts[1:]), total]
    gained = [(hour_ms, Quality(end - start)) for (hour_ms, start), end in zip(starts, ends, strict=True)]
    return [(hour_ms, quality.n, quality.hits) for hour_ms, quality in gained]


def _largest(
    entrant: Entrant, jobs: dict[str, BatchJob], stories: Sequence[Spike]
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    if not stories:
        return np.empty(0, np.int64), {}
    story = stories[0]
    at_ms, places = entrant.notes.places(story.item)
    is_here = (at_ms >= story.window[0]) & (at_ms < story.window[1])
    at_ms = at_ms[is_here]
    return at_ms, {name: job.place(story, at_ms) for name, job in jobs.items()} | {ONLINE: places[is_here]}


def _place(items: list[str], item: str) -> int:
    return items.index(item) + 1 if item in items else NOTED_DEPTH + 1


def _of_stories(way: WayToLearn, figure: Callable[[], str]) -> str:
    """Return a figure about stories, or a dash.

    It is a dash if no story broke, or if this way has no common list for everyone.
    """
    return figure() if way.appears_s else "-"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f}"
