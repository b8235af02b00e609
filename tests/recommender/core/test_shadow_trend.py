"""Test the undefended list, which follows every click within its bounds."""

import numpy as np

from recommender.core.pipeline import Config, Pipeline
from recommender.core.shadow_trend import Shadow


def both(config, *rushes, at_ms=1_000_000):
    """Return a Pipeline and its shadow after these (actors, item), one batch each."""
    pipeline = Pipeline(config)
    shadow = Shadow(config)
    for number, (actors, item) in enumerate(rushes):
        received = np.full(len(actors), at_ms + 1000 * number)
        batch = pipeline.encode(received_ms=received, actors=actors, items=[item] * len(actors))
        pipeline.step(batch)
        shadow.learn(batch)
    return pipeline, shadow


READERS = [f"reader-{number}" for number in range(20)]


def test_every_actor_counts_in_full():
    pipeline, shadow = both(Config(), (READERS, "story"))
    assert pipeline.board(1).scores[0] < 1.1
    assert shadow.trend.board(1, shadow.stream_ms).scores[0] == 20


def test_one_network_counts_in_full():
    config = Config()
    shadow, encoder = Shadow(config), Pipeline(config)
    crowd = [f"bot-{number}" for number in range(1000)]
    shadow.learn(
        encoder.encode(received_ms=[1000] * 1000, actors=crowd, items=["push"] * 1000, ips=["10.0.0.1"] * 1000)
    )
    assert shadow.trend.board(1, shadow.stream_ms).scores[0] == 1000


def test_the_pipeline_does_not_notice_it():
    alone = Pipeline(Config())
    batch = alone.encode(received_ms=[1000] * 20, actors=READERS, items=["story"] * 20)
    alone.step(batch)
    watched, shadow = Pipeline(Config()), Shadow(Config())
    watched.step(batch)
    shadow.learn(batch)
    assert watched.digest() == alone.digest()


def test_it_stays_within_its_bounds():
    config = Config(max_items=100, max_pairs=1000, max_actors=1000)
    shadow, encoder = Shadow(config), Pipeline(config)
    for start in range(0, 5000, 500):
        names = [str(number) for number in range(start, start + 500)]
        shadow.learn(encoder.encode(received_ms=[1000 + start] * 500, actors=names, items=names))
    assert len(shadow.trend.items) <= 100 + 500
    assert len(shadow.trend.pairs) <= 1000 + 500
    assert len(shadow.trend.regions) == len(shadow.trend.networks) == 0
