"""Merge rows of many sources into one log in files, even one larger than memory.

    sources, old ones first ──> rows by minute ──> cuts, between which `Budget.rows` lie
    sources ──frames of `Budget.chunk` rows, numbered──┬──> parts on disk by time
                                                       └──> (hash of the id, number), parts on disk by hash
    by hash, in memory: of one id the first number stays ──> a bit a row
    by time, in memory: what stays, sorted ──> a Parquet file each ──> Journal: the files as one log

The log has each event once, in order of time. Memory: one part, one frame, and a bit per row. `Budget` has the
figures. The busiest minute must fit in memory. Disk: the rows twice, compressed, and PAIR bytes per row. Sources that
are nearly in order of time are cheapest, because their frames are hardly cut. The same sources give the same log with
any budget, because no decision depends on one part alone.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recommender.batch.collect.disk_spill import Spill
from recommender.batch.collect.event_sources import RowSource, identified
from recommender.core.events import Encoder
from recommender.core.parquet_log import LogFile, LogFileStep

ROW_BYTES = 1024  # of a part: columns, and their copies during sorting
CHUNK_BYTES = 1024  # of a frame in transit: columns, their copies, and Python's texts
SLOT_S = 60
MIN_ROWS = 1000
MAX_CHUNK = 262_144
PAIR = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<i8")])
PAIR_COPIES = 4  # in memory while a part of them is ranked

Say = Callable[[str, int], None]


def mute(stage: str, n: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The number of rows that may be in memory at once.

    rows: of a part. chunk: of a source or a log in transit. pairs: of ids.
    """

    rows: int
    chunk: int
    pairs: int

    @classmethod
    def of(cls, n_bytes: int) -> "Budget":
        """Return a budget for a number of bytes.

        Half is for a part, and half for the frames in transit.
        """
        rows, chunk = n_bytes // (2 * ROW_BYTES), n_bytes // (2 * CHUNK_BYTES)
        pairs = n_bytes // (PAIR_COPIES * PAIR.itemsize)
        return cls(max(MIN_ROWS, rows), max(MIN_ROWS, min(MAX_CHUNK, chunk)), max(MIN_ROWS, pairs))


@dataclass(frozen=True, slots=True)
class Journal:
    """One log in files that follow one another in time.

    It has the `steps` of a `LogFile`, over all files. n_read: rows of all sources. chunk: rows in memory at once.
    """

    files: tuple[Path, ...]
    n_rows: int
    n_read: int
    chunk: int

    def steps(self, encoder: Encoder, *, bucket_ms: int) -> Iterator[LogFileStep]:
        """Yield the steps of all files, as `LogFile.steps` does.

        Files are cut at whole minutes, so no bucket that divides a minute is cut. `LogFileStep.rows` are numbers
        within a file.
        """
        for file in self.files:
            yield from LogFile(file, chunk_rows=self.chunk).steps(encoder, bucket_ms=bucket_ms)

    @property
    def rows(self) -> pl.LazyFrame:
        """Return all rows, for queries over the whole log."""
        return pl.scan_parquet(list(self.files))


def merge(sources: Sequence[RowSource], folder: Path, budget: Budget, on_progress: Say | None = None) -> Journal:
    """Merge sources into a log in a folder, as the module's docstring shows.

    Raises LogFileError.

    on_progress: gets a stage, and the number of rows it has just processed.
    """
    say = on_progress or mute
    slots: Counter[int] = Counter()
    for source in sources:
        slots.update(source.slots(SLOT_S))
    cuts, n_rows = cut(slots, budget.rows), sum(slots.values())
    by_time = Spill(folder / "by-time", len(cuts) + 1)
    by_id = _Ids(folder / "by-id", 1 + n_rows // budget.pairs)
    n_read = 0
    with closing(by_time), closing(by_id):
        for source in sources:
            for frame in source.frames(budget.chunk):
                numbered = frame.with_row_index("_row", offset=n_read)
                by_id.write(numbered)
                by_time.write(numbered, _place(cuts))
                n_read += len(frame)
                say("collect", len(frame))
    is_double = by_id.doubles(n_read, say)
    files, n_kept = [], 0
    for number, part in enumerate(by_time.drain()):
        row = part["_row"].to_numpy()
        kept = part.filter(pl.Series(is_double[row >> 3] >> (row & 7).astype(np.uint8) & 1 == 0, dtype=pl.Boolean))
        file = folder / f"{number:05d}.parquet"
        kept.sort("ts", "_row").drop("_row").write_parquet(file, row_group_size=budget.chunk)
        if len(kept):
            files.append(file)
        n_kept += len(kept)
        say("sort", len(part))
    shutil.rmtree(folder / "by-time")
    return Journal(tuple(files), n_kept, n_read, budget.chunk)


def cut(slots: Counter[int], max_rows: int) -> list[float]:
    """Return times between which at most max_rows rows lie.

    They are unix seconds at whole slots. A single slot with more rows is not cut.

    >>> cut(Counter({0: 3, 1: 3, 2: 1, 9: 4}), 5)
    [60.0, 540.0]
    """
    cuts, n = [], 0
    for slot in sorted(slots):
        if n and n + slots[slot] > max_rows:
            cuts.append(float(slot * SLOT_S))
            n = 0
        n += slots[slot]
    return cuts


def _place(cuts: list[float]) -> pl.Expr:
    """Return the number of the part that a row's time is in."""
    if not cuts:
        return pl.lit(0, pl.Int64)
    return pl.col("ts").map_batches(
        lambda ts: pl.Series(np.searchsorted(np.array(cuts), ts.to_numpy(), "right")), return_dtype=pl.Int64
    )


class _Ids:
    """Pairs of an id's hash and a row's number, in parts on disk by hash.

    The hash has 128 bits. The chance that two of 1e9 ids share a hash is 1e-21.
    """

    def __init__(self, folder: Path, n_parts: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files = [(folder / f"{number:05d}").open("wb") for number in range(n_parts)]

    def write(self, frame: pl.DataFrame) -> None:
        ids = identified(frame)["id"]
        pairs = np.empty(len(frame), PAIR)
        pairs["high"], pairs["low"] = ids.hash(seed=1).to_numpy(), ids.hash(seed=2).to_numpy()
        pairs["row"] = frame["_row"].to_numpy()
        part = pairs["high"] % np.uint64(len(self._files))
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(len(self._files)), "right")
        for file, rows in zip(self._files, np.split(order, ends[:-1]), strict=True):
            if len(rows):
                file.write(pairs[rows].tobytes())

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def doubles(self, n_rows: int, say: Say) -> NDArray[np.uint8]:
        """Return a bit per row, lowest first, that is 1 if an earlier row has the same id."""
        bits = np.zeros(n_rows // 8 + 1, np.uint8)
        for file in self._files:
            pairs = np.fromfile(file.name, PAIR)
            ranked = pairs[np.lexsort((pairs["row"], pairs["low"], pairs["high"]))]
            is_same = (ranked["high"][1:] == ranked["high"][:-1]) & (ranked["low"][1:] == ranked["low"][:-1])
            rows = ranked["row"][1:][is_same]
            np.bitwise_or.at(bits, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))
            say("merge", len(pairs))
        shutil.rmtree(self._folder)
        return bits
