"""Archive partitions that leave retention as Parquet files.

    recommender_event_20260105 ──event_sources.LogRows──> events-20260105.parquet.part ──fsync, read back──> renamed
                                                                              ──same rows?──> partition dropped

A partition is dropped in a transaction that locks it, and only if the archive on disk has exactly its present rows.
The check compares their count and the sum of their numbers, and the file read back must have the hash of the rows
written. If the process is killed anywhere, the partition or the archive exists, or both, but never neither. A
leftover draft is written anew.

An archive has as much of an origin as PRIVACY kept, and the keys of the whole. So what is learned from it is what the
learner learned. `replay`, `compare` and `retrain` read archives. They are sorted by time, with `ts` in unix seconds.
Archives contain actors. If an actor is erased, its rows are removed from them too (`erase`), by writing the files
anew. Copies in other places are up to those who keep them.

Memory: CHUNK rows. `ARCHIVE_DIR` is the folder. If it is empty, partitions are dropped without an archive.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl
from django.conf import settings
from django.db import connection, transaction

from recommender import locks
from recommender.batch.collect.event_sources import SCHEMA, LogRows
from recommender.log.partitions import drop_partition, partition, partitions

CHUNK = 65_536
PART, DRAFT = ".part", ".draft"

logger = logging.getLogger(__name__)


class ArchiveDiffers(Exception):
    """The file does not have the rows of the partition, so the partition stays."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A partition that was archived, and whether it was dropped afterwards."""

    day: date
    path: Path
    n_rows: int
    n_bytes: int
    is_dropped: bool


def folder() -> Path | None:
    """Return the folder of archives, or None if there is none."""
    return Path(settings.ARCHIVE_DIR) if settings.ARCHIVE_DIR else None


def files() -> list[Path]:
    """Return the complete archives, oldest first."""
    where = folder()
    return sorted(where.glob("events-*.parquet")) if where and where.is_dir() else []


def leave(before: date, *, is_drop: bool = True) -> list[Archived]:
    """Archive the partitions of days before a day, and drop those safely on disk.

    It begins with the oldest. It does nothing while an actor is being erased, because the actor's rows would come
    back with the file. Raises OSError if the disk refuses. Partitions that are not safe by then stay in the database.
    """
    done: list[Archived] = []
    for day in [known for known in partitions() if known < before]:
        with locks.hold(locks.HISTORY, is_shared=True) as is_free:
            if not is_free:
                logger.info("an actor is being erased, so the partition of %s is archived later", day)
                return done
            done.append(keep(day, is_drop=is_drop))
    return done


def keep(day: date, *, is_drop: bool) -> Archived:
    """Archive one partition.

    A complete archive of it is not written again.
    """
    where = folder()
    assert where is not None
    where.mkdir(parents=True, exist_ok=True)
    path, source = where / f"events-{day:%Y%m%d}.parquet", LogRows.of_day(day)
    if not path.exists() or fingerprint(path) != source.fingerprint():
        write(source, path)
    is_dropped = is_drop and drop(day, path)
    n_rows, _ = fingerprint(path)
    logger.info("%s: %d events archived%s", path.name, n_rows, ", partition dropped" if is_dropped else "")
    return Archived(day, path, n_rows, path.stat().st_size, is_dropped)


def write(source: LogRows, path: Path) -> None:
    """Write the rows of a source into an archive.

    1. Write the rows in pieces next to it.
    2. Join these, read the file back and compare.
    3. Flush the file to disk.
    4. Rename it.

    Raises ArchiveDiffers, OSError.
    """
    draft, written = path.with_suffix(DRAFT), _Hash()
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    pieces: list[Path] = []
    # This thread reads the rows, because it has the connection. Polars would call back from its own threads.
    for frame in source.frames(CHUNK):
        written.add(frame)
        pieces.append(draft / f"{len(pieces):05d}.parquet")
        frame.write_parquet(pieces[-1])
    _replace(path, pl.scan_parquet(pieces) if pieces else pl.LazyFrame(schema=SCHEMA), written)
    shutil.rmtree(draft)


def drop(day: date, path: Path) -> bool:
    """Drop the partition of a day if the archive has all its rows.

    Returns whether it did. The partition is locked meanwhile, so that no one can write to it.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {partition(day)} IN ACCESS EXCLUSIVE MODE")
        if fingerprint(path) != LogRows.of_day(day).fingerprint():
            logger.warning("the partition of %s changed while it was archived, so it stays for now", day)
            return False
        drop_partition(day)
    return True


def fingerprint(path: Path) -> tuple[int, int]:
    """Return the `LogRows.fingerprint` of an archive, or (-1, 0) if it is none."""
    try:
        rows = pl.scan_parquet(path)
        n, total = rows.select(pl.len(), pl.col("seq").sum()).collect(engine="streaming").row(0)
    except (OSError, pl.exceptions.PolarsError):
        return -1, 0
    return int(n), int(total)


def erase(actor: str) -> int:
    """Remove an actor from every archive, and return the number of removed events.

    Each file is replaced whole or not at all.
    """
    n_gone = 0
    for path in files():
        rows = pl.scan_parquet(path)
        n = int(rows.filter(pl.col("actor") == actor).select(pl.len()).collect(engine="streaming").item())
        if n:
            kept = rows.filter(pl.col("actor") != actor)
            wanted = _Hash()
            for frame in kept.collect_batches(chunk_size=CHUNK, maintain_order=True):
                wanted.add(frame)
            _replace(path, kept, wanted)
            n_gone += n
    return n_gone


class _Hash:
    """A sum over rows.

    So the frames may be cut differently when they are read back.
    """

    def __init__(self) -> None:
        self.n_rows, self.total = 0, 0

    def add(self, frame: pl.DataFrame) -> None:
        self.n_rows += len(frame)
        if len(frame):
            self.total = (self.total + int(frame.hash_rows(seed=1).cast(pl.UInt64).sum() or 0)) % 2**64


def _replace(path: Path, rows: pl.LazyFrame, expected: _Hash) -> None:
    """Write rows to a file, check them, and put the file in place of another.

    `expected` is complete only once the rows are written.
    """
    part = path.with_suffix(path.suffix + PART)
    part.unlink(missing_ok=True)
    rows.sink_parquet(part, maintain_order=True, row_group_size=CHUNK, compression="zstd")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    found = _Hash()
    names = rows.collect_schema().names()  # an archive of an earlier version has fewer
    for frame in pl.scan_parquet(part).select(names).collect_batches(chunk_size=CHUNK):
        found.add(frame)
    if (found.n_rows, found.total) != (expected.n_rows, expected.total):
        raise ArchiveDiffers(
            f"{part} was read back with {found.n_rows} rows that differ from the {expected.n_rows} written:"
            " check the disk"
        )
    part.rename(path)
    entry = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(entry)  # the name too
    finally:
        os.close(entry)


def day_of(path: Path) -> date:
    """Return the day of an archive.

    >>> day_of(Path("events-20260105.parquet"))
    datetime.date(2026, 1, 5)
    """
    return datetime.strptime(path.stem[-8:], "%Y%m%d").date()  # noqa: DTZ007 - a day
