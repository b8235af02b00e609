"""What a defence costs those who did nothing: a log without an attack, folded once, list by list.

    Warm.fold(on_step=Diary) ──> Diary: the first places every five seconds, verdicts by group, whether the item of
                                 each event stood in the list ──> spikes delayed, honest events held, hit rate kept

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

from recommender.attack.arena import DEPTH, WARM_STEP_MS, Site
from recommender.attack.defences import Defence, Judged, Product
from recommender.attack.ledger import READERS, Ledger
from recommender.core.screen import ADMIT

HOUR_MS = 3_600_000
SPIKE = 10.0  # times the hourly average of the day before
MIN_SPIKE = 30
HELD_STEPS = 60_000 // WARM_STEP_MS  # a place counts as held after a minute
LATE_S = 60
MANY_ACTORS = 20  # behind one address
GRACE_MS = 1_800_000  # past the hour, in which a delayed spike may still arrive


@dataclass(slots=True)
class Diary:
    """Notes of one fold. tops: the first places after each step, by the time after it."""

    site: Site
    at_ms: list[int] = field(default_factory=list)
    tops: list[list[str]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    hits: int = 0
    events: int = 0
    quality: dict[str, float] = field(default_factory=dict)
    _row: int = 0
    _index: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)

    def ranks(self, item: str, start_ms: int, end_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Times of the steps in between, and the item's place after each, DEPTH + 1 where it was in none."""
        if not self._index:
            for step, top in enumerate(self.tops):
                for number, each in enumerate(top, 1):
                    steps, places = self._index.setdefault(each, ([], []))
                    steps.append(step)
                    places.append(number)
        times = np.asarray(self.at_ms)
        first, end = np.searchsorted(times, [start_ms, end_ms])
        rank = np.full(end - first, DEPTH + 1, np.int64)
        at, place = (np.array(each, np.int64) for each in self._index.get(item, ([], [])))
        inside = slice(*np.searchsorted(at, [first, end]).tolist())
        rank[at[inside] - first] = place[inside]
        return times[first:end], rank

    def note(self, at_ms: int, defence: Defence, judged: Judged) -> None:
        """After each step; see `arena.OnStep`."""
        n = len(judged.verdicts.verdict)
        rows = slice(self._row, self._row + n)
        self._row = rows.stop
        times, group = self.site.batch.received_ms[rows], self.site.group[rows]
        self.ledger.note(at_ms, rows.start, times, group, np.zeros(n, np.bool_), judged)
        if self.tops:
            shown = set(self.tops[-1])
            self.hits += sum(item in shown for item in self.site.batch.item_names[rows])
            self.events += n
        self.at_ms.append(at_ms)
        self.tops.append(defence.top(DEPTH)[0])
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
        .sort("item", "hour")
    )
    before = counts.rolling("hour", period="24i", closed="left", group_by="item").agg(
        pl.col("n").sum().alias("before")
    )
    spikes = counts.join(before, on=["item", "hour"], how="left", maintain_order="left").with_columns(
        (pl.col("before").fill_null(0) / 24).clip(lower_bound=1.0).alias("baseline")
    )
    first, last = int(at_ms[0]) // HOUR_MS + 24, (until_ms or int(at_ms[-1])) // HOUR_MS - 1
    is_spike = (pl.col("n") >= SPIKE * pl.col("baseline")) & (pl.col("n") >= MIN_SPIKE)
    return spikes.filter(is_spike, pl.col("hour").is_between(first, last)).with_columns(pl.col("hour") * HOUR_MS)


def delays(spikes: pl.DataFrame, undefended: Diary, defended: Diary) -> pl.DataFrame:
    """By spike that an undefended list shows at all: its place there, and by how many seconds the defended list is
    later with it at that place, at one or two places below, and in the first 20 and 10 (null: never; negative:
    earlier)."""
    rows = []
    for spike in spikes.iter_rows(named=True):
        start_ms, item = spike["hour"], spike["item"]
        bare = undefended.ranks(item, start_ms, start_ms + HOUR_MS)
        place = _best_held(bare[1])
        if place > DEPTH:
            continue
        ours = defended.ranks(item, start_ms, start_ms + HOUR_MS + GRACE_MS)
        row: dict[str, Any] = {"item": item, "hour": start_ms, "n": spike["n"], "place": place}
        for name, wanted, allowed in (
            ("exact", place, place),
            ("near", place, place + 2),
            ("top20", DEPTH, DEPTH),
            ("top10", 10, 10),
        ):
            due, came = _first(bare, wanted), _first(ours, min(allowed, DEPTH))
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


def _best_held(rank: NDArray[np.int64]) -> int:
    """The best place an item kept, or bettered, for HELD_STEPS in a row."""
    if len(rank) < HELD_STEPS:
        return DEPTH + 1
    return int(np.lib.stride_tricks.sliding_window_view(rank, HELD_STEPS).max(axis=1).min())


def _first(ranks: tuple[NDArray[np.int64], NDArray[np.int64]], place: int) -> int | None:
    found = np.flatnonzero(ranks[1] <= place)
    return int(ranks[0][found[0]]) if len(found) else None
