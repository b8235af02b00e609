"""Cost of a defence for honest readers, measured on a log without an attack.

    WarmStates.fold(on_step=Diary.note) ──> Pages: first places every five seconds, verdicts by group, events whose
                                      item was in the list ──> spikes delayed, events held, hit rate kept

A spike is an hour in which an item has ten times its hourly average of the day before, and at least MIN_SPIKE acts.
Its delay is the time between two moments. At the first, the undefended list shows the item at the best place that it
holds there for a minute within that hour. At the second, the defended list shows it at that place. The suite takes
caps only as the undefended list.

Two more figures forgive a place or two, because two neighbours that change places are no delay. They are the entry
into the top 20 and into the top 10.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.core.vocabulary import ADMIT, HOUR_MS, MINUTE_MS
from recommender.lab.attack.defences.defences import Defence, Judged, Product
from recommender.lab.attack.trials import run_metrics
from recommender.lab.attack.trials.event_fates import READERS, Ledger
from recommender.lab.attack.trials.single_run import WARM_STEP_MS, WATCHED_DEPTH, TrialSite

SPIKE = 10.0  # times the hourly average of the day before
MIN_SPIKE = 30
HELD_STEPS = MINUTE_MS // WARM_STEP_MS  # a place counts as held after a minute
LATE_S = 60
MANY_ACTORS = 20  # behind one address
GRACE_MS = 30 * MINUTE_MS  # after the hour, in which a delayed spike may still arrive


@dataclass(frozen=True, slots=True)
class Pages:
    """The result of a diary without its log, in about 80 bytes per step.

    at_ms: int64 (n,), ascending.
    tops: int32 (n, WATCHED_DEPTH), items by number, -1 for the end of a shorter list.
    numbers: numbers of the items.
    summary: see `Diary.summary`.
    """

    at_ms: NDArray[np.int64]
    tops: NDArray[np.int32]
    numbers: dict[str, int]
    summary: dict[str, Any]

    def ranks(self, item: str, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the times of the steps in an interval, and the item's place after each.

        The place is WATCHED_DEPTH + 1 if the item is not in the list.
        """
        first, end = np.searchsorted(self.at_ms, [start_ms, end_ms])
        is_here = self.tops[first:end] == self.numbers.get(item, -2)
        return self.at_ms[first:end], np.where(is_here.any(axis=1), is_here.argmax(axis=1) + 1, WATCHED_DEPTH + 1)


@dataclass(slots=True)
class Diary:
    """Notes of one fold: the first places after each step, by the time after it."""

    site: TrialSite
    ledger: Ledger = field(default_factory=Ledger)
    hits: int = 0
    events: int = 0
    quality: dict[str, float] = field(default_factory=dict)
    _at_ms: list[int] = field(default_factory=list)
    _tops: list[NDArray[np.int32]] = field(default_factory=list)
    _shown: set[str] = field(default_factory=set)
    _numbers: dict[str, int] = field(default_factory=dict)
    _row: int = 0

    def pages(self) -> Pages:
        """Return all notes so far."""
        tops = np.array(self._tops, np.int32).reshape(-1, WATCHED_DEPTH)
        return Pages(np.array(self._at_ms, np.int64), tops, self._numbers, self.summary())

    def note(self, at_ms: int, defence: Defence, judged: Judged) -> None:
        """Note a step; see `single_run.OnStep`."""
        n = len(judged.verdicts.verdict)
        rows = slice(self._row, self._row + n)
        self._row = rows.stop
        times, group = self.site.batch.received_ms[rows], self.site.group[rows]
        self.ledger.note(at_ms, rows.start, times, group, np.zeros(n, np.bool_), judged)
        if self._at_ms:
            self.hits += sum(item in self._shown for item in self.site.batch.item_names[rows])
            self.events += n
        items, numbers = defence.top(WATCHED_DEPTH)[0], self._numbers
        self._shown = set(items)
        self._at_ms.append(at_ms)
        row = [numbers.setdefault(item, len(numbers)) for item in items]
        self._tops.append(np.array(row + [-1] * (WATCHED_DEPTH - len(row)), np.int32))
        if isinstance(defence, Product):
            quality = defence.pipeline.evaluation.total("trending")
            self.quality = {"hr20": quality.hit_rate, "mrr20": quality.mean_reciprocal_rank}

    def collateral(self) -> dict[str, float]:
        """Compare the events held or stopped in two groups of readers with all readers.

        The groups are readers in their first hour, and readers behind a shared address. Each figure is a multiple of
        the share of all readers. It is missing if nothing was held or stopped.
        """
        group, verdict, was_held, _ = self.ledger.columns()
        is_reader, is_touched = group == READERS, was_held | (verdict != ADMIT)
        overall = is_touched[is_reader].mean() if is_reader.any() else 0.0
        if not overall:
            return {}
        log = self.site.log[: len(group)]
        groups = {"new": (pl.col("ts") - pl.col("ts").min().over("actor")) < HOUR_MS / 1000}
        if "ip" in log.columns:
            groups["shared"] = pl.col("actor").n_unique().over("ip") >= MANY_ACTORS
        chosen = {name: log.select(by)[:, 0].fill_null(False).to_numpy() & is_reader for name, by in groups.items()}
        return {name: float(is_touched[rows].mean() / overall) for name, rows in chosen.items() if rows.any()}

    def summary(self) -> dict[str, Any]:
        """Return the shares of readers' events held and quarantined, and the hit rate."""
        readers = self.ledger.summary()["readers"]
        n = max(1, readers["events"])
        return {
            "events": self._row,
            "held": readers["held"] / n,
            "held_s": readers["held_s"],
            "quarantined": readers["quarantined"] / n,
            "listed": self.hits / max(1, self.events),
            "collateral": self.collateral(),
        } | self.quality


def find_spikes(site: TrialSite, *, until_ms: int | None = None) -> pl.DataFrame:
    """Find the spikes: item, hour (ms), n and baseline.

    The first day is left out because there is no day before it.
    """
    at_ms = site.batch.received_ms
    counts = (
        pl.DataFrame({"hour": at_ms // HOUR_MS, "item": site.log["item"]})
        .filter(pl.lit(site.group == READERS))
        .group_by("item", "hour")
        .agg(pl.len().alias("n"))
    )
    first, last = int(at_ms[0]) // HOUR_MS + 24, (until_ms or int(at_ms[-1])) // HOUR_MS - 1
    return risen(counts, first, last).with_columns(pl.col("hour") * HOUR_MS)


def risen(counts: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """Find the spikes in counts of acts by item and hour, with the baseline of each.

    counts: columns item, hour (hours since 1970), n.
    first, last: the hours to look at.
    """
    counts = counts.sort("item", "hour")
    before = counts.rolling("hour", period="24i", closed="left", group_by="item").agg(
        pl.col("n").sum().alias("before")
    )
    spikes = counts.join(before, on=["item", "hour"], how="left", maintain_order="left").with_columns(
        (pl.col("before").fill_null(0) / 24).clip(lower_bound=1.0).alias("baseline")
    )
    is_spike = (pl.col("n") >= SPIKE * pl.col("baseline")) & (pl.col("n") >= MIN_SPIKE)
    return spikes.filter(is_spike, pl.col("hour").is_between(first, last))


def delays(spikes: pl.DataFrame, undefended: Pages, defended: Pages) -> pl.DataFrame:
    """Measure how late a defended list shows the spikes of the undefended list.

    A row gives the undefended place, and the delay in seconds at that place, at most two places below it, in the top
    20 and in the top 10. A delay is null if the spike never came, and negative if it came earlier.
    """
    rows = []
    for spike in spikes.iter_rows(named=True):
        start_ms, item = spike["hour"], spike["item"]
        bare = undefended.ranks(item, start_ms, start_ms + HOUR_MS)
        place = run_metrics.best_held(bare[1], HELD_STEPS)
        if place > WATCHED_DEPTH:
            continue
        ours = defended.ranks(item, start_ms, start_ms + HOUR_MS + GRACE_MS)
        row: dict[str, Any] = {"item": item, "hour": start_ms, "n": spike["n"], "place": place}
        for name, wanted, allowed in (
            ("exact", place, place),
            ("near", place, place + 2),
            ("top20", WATCHED_DEPTH, WATCHED_DEPTH),
            ("top10", 10, 10),
        ):
            due, came = _first(bare, wanted), _first(ours, min(allowed, WATCHED_DEPTH))
            row[name] = None if due is None or came is None else (came - due) / 1000
            row[f"is_due_{name}"] = due is not None
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def lateness(found: pl.DataFrame) -> dict[str, Any]:
    """Count the spikes due at each place, and those that came late, early or never.

    Late and early mean by more than LATE_S. A spike that never came is also late.
    """
    answer: dict[str, Any] = {"spikes": len(found)}
    for name in ("exact", "near", "top20", "top10") if len(found) else ():
        due = found.filter(pl.col(f"is_due_{name}"))
        late = due.filter(pl.col(name).is_null() | (pl.col(name) > LATE_S))
        came = due[name].drop_nulls()
        answer[name] = {
            "due": len(due),
            "late": len(late),
            "early": len(due.filter(pl.col(name) < -LATE_S)),
            "never": due[name].null_count(),
            "median_s": came.median() if len(came) else None,
            "p95_s": came.quantile(0.95) if len(came) else None,
        }
    return answer


def _first(ranks: tuple[NDArray[np.int64], NDArray[np.int64]], place: int) -> int | None:
    found = np.flatnonzero(ranks[1] <= place)
    return int(ranks[0][found[0]]) if len(found) else None
