"""An attack through the real learner.

The log holds a site's morning with a push at its end. The learner folds it in small steps.
"""

import time

import numpy as np

from recommender.learning import learner, warm_pipeline
from recommender.log import event_log
from recommender.log.partitions import ensure_partitions
from tests.help.learner_process import keep, restart
from tests.help.log_rows import events
from tests.help.streams import HOUR, T0, Stream, readers

N = 6_000


def site(*, seed=1, seconds=2 * 3600) -> Stream:
    """Make readers who mostly have been here before, and newcomers.

    Half of the newcomers go on to a second item.
    """
    stream = readers(n_events=N, n_actors=400, n_items=100, seconds=seconds, seed=seed)
    rng = np.random.default_rng(seed)
    for newcomer in range(800):
        at_ms = T0 + int(rng.integers(0, seconds * 1000))
        stream.add(at_ms, f"new-{newcomer}", f"item-{rng.integers(0, 100)}")
        if rng.random() < 0.5:
            stream.add(at_ms + int(rng.integers(5000, 55_000)), f"new-{newcomer}", f"item-{rng.integers(0, 100)}")
    return stream


def push(stream: Stream, item: str, n: int, *, name="mal", at_ms=T0 + HOUR, seconds=60) -> Stream:
    """Add fresh accounts that all click on one item and on nothing else."""
    rng = np.random.default_rng(n)
    for bot in range(n):
        stream.add(at_ms + int(rng.integers(0, seconds * 1000)), f"{name}-{bot}", item)
    return stream


def flash_crowd(stream: Stream, item: str, n: int, *, at_ms=T0 + HOUR) -> Stream:
    """Add guests who come for one story and stay for another."""
    rng = np.random.default_rng(n)
    for guest in range(n):
        came_ms = at_ms + int(rng.integers(0, 30_000))
        stream.add(came_ms, f"guest-{guest}", item)
        stream.add(came_ms + int(rng.integers(15_000, 50_000)), f"guest-{guest}", f"item-{rng.integers(0, 100)}")
    return stream


def write(stream: Stream) -> None:
    """Put a stream into the log, received at its own times but ending now."""
    ensure_partitions()
    stream.rows.sort(key=lambda row: row[0])
    shift_ms = int(time.time() * 1000) - stream.rows[-1][0]
    actors, items = ([row[place] for row in stream.rows] for place in (2, 3))
    event_log.append_at(events(actors, items), [(row[0] + shift_ms) / 1000 for row in stream.rows])


def learn_all(*, per_step=60, between=lambda: None) -> int:
    """Drain the log in steps of `per_step` events, and return the number of steps.

    between: called after each step and at the end.
    """
    n_steps = 0
    while _step(per_step):
        n_steps += 1
        between()
    between()
    return n_steps


def _step(limit: int) -> int:
    row = learner.get_learner(0)
    warm = learner.in_memory(0) or warm_pipeline.restore(row)
    restart()  # it is put back only if all goes well, as the learner does
    part = learner.read_next(warm, limit)
    if len(part):
        learner.take_step(warm, row, part)
    keep(warm)
    return len(part)
