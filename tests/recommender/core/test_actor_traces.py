"""Test that a forgotten actor leaves no key behind and no other actor changes."""

import numpy as np
import pytest

from recommender.core import actor_traces
from recommender.core.pipeline import Config, Pipeline
from recommender.core.screen import ScreenConfig


def learned(actors, items, *, every_ms=100, **config):
    """Return a Pipeline that learned these events in steps of 20."""
    pipeline = Pipeline(Config(screen=ScreenConfig(cold_events=50), **config))
    for start in range(0, len(actors), 20):
        part = slice(start, start + 20)
        n = len(actors[part])
        received = 1_000_000 + every_ms * np.arange(start, start + n)
        pipeline.step(pipeline.encode(received_ms=received, actors=actors[part], items=items[part]))
    return pipeline


@pytest.fixture
def crowd():
    """Return a Pipeline with mal among two hundred newcomers of one story.

    Some of them are held.
    """
    actors = [f"reader-{number}" for number in range(200)] + ["mal"] * 8
    items = ["story"] * 200 + [f"story-{number}" for number in range(7)] + ["story"]
    order = np.random.default_rng(3).permutation(len(actors)).tolist()
    return learned([actors[place] for place in order], [items[place] for place in order])


def test_an_actor_leaves_traces_until_it_is_forgotten(crowd):
    mal, other = crowd.encoder.key("mal"), crowd.encoder.key("reader-7")
    assert actor_traces.count(crowd.state(), mal) >= 8  # at least a pair with each item
    before = actor_traces.count(crowd.state(), other)
    crowd.forget(mal)
    assert actor_traces.count(crowd.state(), mal) == 0
    assert actor_traces.count(crowd.state(), other) == before > 0


def test_the_counts_are_those_without_it():
    actors = ["ana", "mal", "ben", "mal", "cleo"]
    items = ["story", "story", "other", "push", "story"]
    pipeline = learned(actors, items)
    pipeline.forget(pipeline.encoder.key("mal"))
    keep = [row for row, actor in enumerate(actors) if actor != "mal"]
    others = Pipeline(pipeline.config)
    received = 1_000_000 + 100 * np.array(keep)
    others.step(
        others.encode(received_ms=received, actors=[actors[row] for row in keep], items=[items[row] for row in keep])
    )
    assert dict(scores(pipeline)) == dict(scores(others))


def scores(pipeline):
    board = pipeline.board(10)
    return zip(board.items, board.counts.tolist(), strict=True)


def test_what_was_forgotten_can_be_learned_and_saved(crowd):
    crowd.forget(crowd.encoder.key("mal"))
    again = Pipeline.from_bytes(crowd.to_bytes())
    assert again.digest() == crowd.digest()
    late = {"received_ms": [2_000_000], "actors": ["mal"], "items": ["story"]}
    for pipeline in (crowd, again):
        pipeline.step(pipeline.encode(**late))
    assert again.digest() == crowd.digest()
    assert actor_traces.count(crowd.state(), crowd.encoder.key("mal")) > 0


def test_an_item_called_like_the_actor_is_no_trace():
    pipeline = learned(["ana"], ["mal"])
    assert actor_traces.count({"trend": pipeline.trend.state()}, pipeline.encoder.key("mal")) == 0


def test_forgetting_an_actor_nobody_knows_changes_nothing(crowd):
    before = crowd.digest()
    crowd.forget(crowd.encoder.key("nobody"))
    assert crowd.digest() == before
