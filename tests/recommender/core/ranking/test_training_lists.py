"""Test lessons: the ranker's lists of acts, by whom, as part of the fold."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.pipeline import Pipeline
from recommender.core.ranking.bypass import MODES, ContestConfig
from recommender.core.ranking.candidates import FEATURES
from recommender.core.ranking.training_lists import NAMES, columns, weigh_lessons
from recommender.core.tables.decay import log2
from recommender.core.trend.trend_columns import PLACES
from recommender.core.trust import WEIGHT_ONE
from tests.help.streams import SMALL, TRUSTING, fold, readers

ALWAYS = {"share": 1.0, "eager_share": 1.0, "spacing_s": 1, "trust_per_h": 1e6}
EAGER = replace(SMALL, ranker=replace(SMALL.ranker, **ALWAYS), contest=ContestConfig(memory=200, warm=20))
STREAM = readers(n_events=1200)


@pytest.fixture(scope="module")
def taught():
    return fold(STREAM, EAGER)


def test_that_the_ranker_learns_in_the_step_and_says_what_it_would_serve(taught):
    assert taught.ranker.n_lists > 300
    assert taught.evaluation.total("ranked").n == taught.ranker.n_lists
    assert taught.ranker.contest.means["blend"] > 0
    assert taught.ranker.export().mean.any()


def test_that_a_checkpoint_goes_on_the_same(taught):
    half = Pipeline(EAGER)
    for start in range(0, 600, 100):
        half.step(STREAM.batch(half, start, start + 100))
    half = Pipeline.from_bytes(half.to_bytes())
    for start in range(600, 1200, 100):
        half.step(STREAM.batch(half, start, start + 100))
    assert half.digest() == taught.digest()


def test_that_a_click_stands_where_the_blend_had_it(taught, monkeypatch):
    pipeline, seen = Pipeline.from_bytes(taught.to_bytes()), []
    predict, learn = pipeline.ranking.predict, pipeline.ranker.learn
    choose = pipeline.ranker.choose
    monkeypatch.setattr(pipeline.ranking, "predict", lambda *given: seen.append(predict(*given)) or seen[-1])
    monkeypatch.setattr(pipeline.ranker, "choose", lambda *given: seen.append(choose(*given)) or seen[-1])
    monkeypatch.setattr(pipeline.ranker, "learn", lambda *given: seen.append(learn(*given)) or seen[-1])
    late = readers(n_events=1400)
    late.rows = [(row[0] + 7_200_000, row[1] + 7_200_000, *row[2:]) for row in late.rows[1200:]]
    pipeline.step(late.batch(pipeline))
    personal, rows, places = seen
    assert len(rows) > 20
    blend, stood = places[:, MODES.index("blend")], personal[rows]
    is_placed = stood <= PLACES
    assert is_placed.sum() > 10
    assert (
        blend[is_placed].tolist() == stood[is_placed].tolist()
    )  # the steady list only adds candidates, behind these


def test_that_canaries_and_repeated_acts_are_no_lessons():
    config = replace(EAGER, canary_share=0.5)
    pipeline = fold(STREAM, config)
    n_trained = pipeline.evaluation.total("trending").n - pipeline.evaluation.total("trending", "canary").n
    assert 0 < pipeline.ranker.n_lists <= n_trained


def test_that_a_lesson_weighs_what_its_actor_had_earned():
    pipeline = fold(STREAM, TRUSTING)
    batch = STREAM.batch(pipeline, 0, 50)
    verdicts = pipeline.screen.judge(batch, pipeline.trend.trusted, 0, pipeline.stream_ms)
    events, *_ = pipeline.weights.weigh(batch, verdicts)
    first = np.ones(50, np.int8)
    weight = weigh_lessons(events, first, pipeline.trend, TRUSTING.trust.rules(), pipeline.evaluation.panel)
    assert weight.tolist() == [round(0.05 * WEIGHT_ONE)] * 50  # one evening earns nothing yet
    nobody = weigh_lessons(events, 0 * first, pipeline.trend, TRUSTING.trust.rules(), pipeline.evaluation.panel)
    assert not nobody.any()


def test_that_an_actor_forgotten_is_not_known_to_have_taught(taught):
    pipeline = Pipeline.from_bytes(taught.to_bytes())
    key = int(pipeline.ranker.state()["taught"][0])
    pipeline.forget(key)
    assert key not in pipeline.ranker.state()["taught"].tolist()


def test_that_the_blends_column_orders_as_the_blend_does():
    rng = np.random.default_rng(3)
    features, scores = np.zeros((200, len(FEATURES))), rng.random(200) * 0.2
    features[:, FEATURES.index("affinity")] = scores * rng.random(200)
    seen = columns(features, scores, 0.5)
    assert seen.shape == (200, len(NAMES))
    assert np.array_equal(np.argsort(-seen[:, NAMES.index("blend")]), np.argsort(-scores))
    assert np.isfinite(seen).all()


@pytest.mark.parametrize("x", [1e-6, 1e-3, 0.5, 0.70710678, 1.0, 1.4142136, 3.0, 1e9])
def test_that_the_logarithm_is_one(x):
    assert log2(x) == pytest.approx(np.log2(x), abs=1e-12)
