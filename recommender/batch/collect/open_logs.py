"""Open one or more files as one Journal, for compare, sweep and retrain."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recommender.batch.collect.event_sources import FileRows, RowSource
from recommender.batch.collect.merge_logs import Budget, Journal, Say, merge

MERGE_BYTES = 512 * 2**20


@contextmanager
def journal_of(
    sources: Sequence[RowSource], *, n_bytes: int = MERGE_BYTES, folder: Path | None = None, say: Say | None = None
) -> Iterator[Journal]:
    """Merge the sources for the time of the block.

    The merged log is on disk in `folder`, or in the folder for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="groundswell-", dir=folder) as made:
        yield merge(sources, Path(made) / "log", Budget.of(n_bytes), say)


def files(paths: Sequence[Path], *, since_s: float | None = None, limit: int | None = None) -> list[RowSource]:
    """Return these files and all files in these folders, by name, as sources.

    Raises LogFileError.

    limit: the largest number of rows to read of each file.
    """
    found: list[RowSource] = []
    for path in paths:
        each = sorted([*path.glob("*.parquet"), *path.glob("*.csv")]) if path.is_dir() else [path]
        found += [FileRows(file, since_s=since_s, limit=limit) for file in each]
    return found
