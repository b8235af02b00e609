"""An honest site and the acts that a test adds, folded second by second.

    site() ──> push() and the like add rows ──> Run: verdicts of every row, the Pipeline afterwards

The hours before the crowd comes are the same in every test, so they are folded once per config. Each test has a last
cut before which it adds nothing. From there a Run continues from a checkpoint, as any learner does.
"""

import bisect
import functools
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from recommender.core.fold.step_result import StepResult
from recommender.core.pipeline import Config, Pipeline
from tests.help.streams import HOUR, MINUTE, SCREENED, T0, Stream, readers

N = 30_000
SITE = {"n_events": N, "n_actors": 1000, "n_items": 300, "seconds": 4 * 3600}
PUSH_AT = T0 + 3 * HOUR
_CUTS = (T0, PUSH_AT - HOUR - MINUTE, PUSH_AT - 3 * MINUTE, PUSH_AT)  # whole seconds, as the steps are
_known: dict[tuple[str, int], tuple[bytes, list[StepResult]]] = {}


def site(seed=1) -> Stream:
    """Make readers who mostly have been here before, and newcomers.

    Half of the newcomers go on to a second item within the minute.
    """
    stream = readers(**SITE, seed=seed)
    rng = np.random.default_rng(seed)
    for newcomer in range(1500):
        at_ms = T0 + int(rng.integers(0, 4 * HOUR))
        stream.add(at_ms, f"new-{newcomer}", f"item-{rng.integers(0, 300)}")
        if rng.random() < 0.5:
            stream.add(at_ms + int(rng.integers(5000, 55_000)), f"new-{newcomer}", f"item-{rng.integers(0, 300)}")
    return stream


def push(stream, item, n=80, name="mal", start_ms=PUSH_AT, seconds=60):
    """Add accounts that all come to one item within so many seconds."""
    rng = np.random.default_rng(n)
    for bot in range(n):
        stream.add(start_ms + int(rng.integers(0, seconds * 1000)), f"{name}-{bot}", item)
    return stream


class Run:
    """A stream folded second by second, with the last verdict on every row."""

    def __init__(self, stream: Stream, config: Config = SCREENED) -> None:
        stream.rows.sort(key=_received)
        self.rows = stream.rows
        n_same, checkpoint, results = _until(config, _last_cut_alike(stream))
        self.pipeline = Pipeline.from_bytes(checkpoint)
        self.results = [*results, *_by_second(self.pipeline, stream, n_same, len(stream.rows))]
        self.first = np.concatenate([result.verdicts.verdict for result in self.results])
        self.reason = np.concatenate([result.verdicts.reason for result in self.results])
        self.last = self.first.copy()
        for result in self.results:
            self.last[result.revised.ordinal] = result.revised.verdict
            self.reason[result.revised.ordinal] |= result.revised.reason

    def of(self, item_or_actor: str) -> np.ndarray:
        return np.array([item_or_actor in (row[3], row[2].split("-")[0]) for row in self.rows])


def _received(row) -> int:
    return row[0]


def _by_second(pipeline: Pipeline, stream: Stream, start: int, end: int) -> Iterator[StepResult]:
    seconds = np.array([_received(row) for row in stream.rows[start:end]]) // 1000
    for first, last in pairwise([0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), end - start]):
        yield pipeline.step(stream.batch(pipeline, start + first, start + last))


@functools.cache
def _honest() -> Stream:
    stream = site()
    stream.rows.sort(key=_received)
    return stream


def _n_before(stream: Stream, cut: int) -> int:
    return bisect.bisect_left(stream.rows, _CUTS[cut], key=_received)


def _last_cut_alike(stream: Stream) -> int:
    """Return the last cut before which the stream is the honest site's, row by row."""
    honest = _honest()
    return max(
        cut
        for cut in range(len(_CUTS))
        if stream.rows[: _n_before(stream, cut)] == honest.rows[: _n_before(honest, cut)]
    )


def _until(config: Config, cut: int) -> tuple[int, bytes, list[StepResult]]:
    """Fold the honest site up to a cut.

    Returns the number of rows up to there, the checkpoint, and the results of the steps.
    """
    honest = _honest()
    end, key = _n_before(honest, cut), (repr(config), cut)
    if key not in _known and cut == 0:
        _known[key] = Pipeline(config).to_bytes(), []
    elif key not in _known:
        start, checkpoint, results = _until(config, cut - 1)
        pipeline = Pipeline.from_bytes(checkpoint)
        results = [*results, *_by_second(pipeline, honest, start, end)]
        _known[key] = pipeline.to_bytes(), results
    return end, *_known[key]
