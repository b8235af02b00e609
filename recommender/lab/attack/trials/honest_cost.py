"""What a defence costs those who did nothing: a log without an attack, folded once, list by list.

    WarmStates.fold(on_step=Diary.note) ──> Pages: first places every five seconds, verdicts by group, whether an item
                                      of each event stood in the list ──> spikes delayed, events held, hit rate kept

A spike is an item-hour with ten times the item's hourly average of the day before, and at least MIN_SPIKE acts. It is
delayed by the time between the moment an undefended list shows the item at the best place it holds there for a minute
within that hour, and the moment the defended list shows it there. Two more figures forgive a place or two, because an
exchange of neighbours is no delay: the entry into the first 20 and the first 10.
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
from recommender.lab.attack.trials.single_run import WARM_STEP_MS, WATCHED_DEPTH, Site

SPIKE = 10.0  # times the hourly average of the day before
MIN_SPIKE = 30
HELD_STEPS = MINUTE_MS // WARM_STEP_MS  # a place counts as held after a minute
LATE_S = 60
MANY_ACTORS = 20  # behind one address
GRACE_MS = 30 * MINUTE_MS  # past the hour, in which a delayed spike may still arrive


@dataclass(frozen=True, slots=True)
class Pages:
    """What a diary says in the end, without the log; 80 bytes a step.

    at_ms: int64 (n,), ascending; tops: int32 (n, WATCHED_DEPTH), items by number, -1 where the list was shorter;
    numbers: of the items; summary: see `Diary.summary`."""

    at_ms: NDArray[np.int64]
    tops: NDArray[np.int32]
    numbers: dict[str, int]
    summary: dict[str, Any]

    def ranks(self, item: str, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Times of the steps in between, and the item's place after each, WATCHED_DEPTH + 1 where it was in none."""
        first, end = np.searchsorted(self.at_ms, [start_ms, end_ms])
        is_here = self.tops[first:end] == self.numbers.get(item, -2)
        return self.at_ms[first:end], np.where(is_here.any(axis=1), is_here.argmax(axis=1) + 1, WATCHED_DEPTH + 1)


@dataclass(slots=True)
class Diary:
    """Notes of one fold: the first places after each step, by the time after it."""

    site: Site
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
        """What was noted so far."""
        tops = np.array(self._tops, np.int32).reshape(-1, WATCHED_DEPTH)
        return Pages(np.array(self._at_ms, np.int64), tops, self._numbers, self.summary())

    def note(self, at_ms: int, defence: Defence, judged: Judged) -> None:
        """After each step; see `single_run.OnStep`."""
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
        """Share of events stopped or held, of readers in their first hour and behind addresses shared by many, as a
        multiple of the share of all readers' events; nothing where there was none."""
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
        """Of the honest readers' events: shares ever held and quarantined in the end; the list's hit rate."""
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


def find_spikes(site: Site, *, until_ms: int | None = None) -> pl.DataFrame:
    """Item-hours: item, hour (ms), n, baseline; the first day has no day before it and is left out."""
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
    """Of acts by item and hour (columns item, hour, n; hours since 1970) the spikes, from hour `first` to `last`,
    with the baseline of each."""
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
    """By spike that an undefended list shows at all: its place there, and by how many seconds the defended list is
    later with it at that place, at one or two places below, and in the first 20 and 10 (null: never; negative:
    earlier)."""
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
    """Spikes; of those due at each place, how many came more than LATE_S later (or never), how many earlier."""
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
