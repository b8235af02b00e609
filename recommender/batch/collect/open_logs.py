"""A file, or several, as one Journal in a folder of its own: what compare, sweep and retrain begin with."""

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
    """The sources merged, for the time of the block; on disk in `folder`, or where temporary files go."""
    with tempfile.TemporaryDirectory(prefix="groundswell-", dir=folder) as made:
        yield merge(sources, Path(made) / "log", Budget.of(n_bytes), say)


def files(paths: Sequence[Path], *, since_s: float | None = None, limit: int | None = None) -> list[RowSource]:
    """Files, and all that folders hold, by name; at most `limit` rows of each. Raises LogFileError."""
    found: list[RowSource] = []
    for path in paths:
        each = sorted([*path.glob("*.parquet"), *path.glob("*.csv")]) if path.is_dir() else [path]
        found += [FileRows(file, since_s=since_s, limit=limit) for file in each]
    return found
