"""Test the health figures against brute force, and during an attack.

Reading them changes nothing.
"""

from dataclasses import fields, replace

import numpy as np
import pytest

from recommender.core.health_figures import gini, low_trust_share, watch
from recommender.core.pipeline import Pipeline
from recommender.core.quality.drift import Level
from recommender.core.screen.pressure import HELD, NEARLY, QUARANTINED, Pressure
from recommender.core.screen.screen import Verdicts
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import HOLD, QUARANTINE, Kind
from tests.help.streams import HOUR, SCREENED, SMALL, T0, TRUSTING, Stream, fold, pushes, readers

DAY = 24 * HOUR


def verdicts(*, admitted=0, held=0, quarantined=0, nearly=0):
    verdict = np.array([0] * admitted + [HOLD] * held + [QUARANTINE] * quarantined + [0] * nearly, np.int8)
    score = np.array([0.05] * admitted + [0.3] * held + [0.6] * quarantined + [0.24] * nearly, np.float32)
    return Verdicts(verdict, score, np.zeros(len(verdict), np.int32))


def test_that_a_new_pipeline_can_be_watched():
    figures = watch(Pipeline(SMALL))
    assert figures.level == Level.NONE
    assert (figures.least_actors, figures.top_share, figures.gini, figures.low_trust_share) == (0, 0.0, 0.0, 0.0)
    assert figures.pressure == 1.0


def test_that_watching_changes_nothing():
    pipeline = fold(pushes(), SCREENED)
    before = pipeline.digest()
    watch(pipeline)
    assert pipeline.digest() == before


def test_that_rates_and_shares_are_what_they_say():
    figures = watch(fold(pushes(), replace(SCREENED, canary_share=0.1)))
    for each in fields(figures):
        if each.name.endswith(("_rate", "_share")) or each.name == "gini":
            assert 0 <= getattr(figures, each.name) <= 1, each.name
    assert figures.n_predictions > figures.n_canary > 0


def test_that_concentration_is_that_of_the_board():
    stream = Stream()
    for item, n_readers in (("first", 6), ("second", 3), ("third", 1)):
        for reader in range(n_readers):
            stream.add(T0, f"{item}-{reader}", item)
    figures = watch(fold(stream))
    assert figures.top_share == pytest.approx(0.6)
    pairwise = np.abs(np.subtract.outer([6, 3, 1], [6, 3, 1])).sum() / (2 * 3 * 10)
    assert figures.gini == pytest.approx(pairwise)


@pytest.mark.parametrize("counts", [[], [0.0], [5.0], [5.0, 5.0]])
def test_that_gini_of_equals_is_nothing(counts):
    assert gini(np.array(counts)) == 0


def test_that_margins_are_of_the_cheapest_served_place():
    stream = Stream()
    for item in range(12):
        for reader in range(20 - item):
            stream.add(T0, f"reader-{reader}", f"item-{item}")
    figures = watch(fold(stream, every=1000))
    assert figures.least_trust == pytest.approx(1.0)  # item-9 has 11, item-10 has 10
    assert figures.least_actors == 2


def test_that_the_mass_of_the_untrusted_is_counted_by_brute_force():
    stream, rng = Stream(), np.random.default_rng(1)
    for day in range(6):
        for actor in range(30):
            for _ in range(5):
                at_ms = T0 + day * DAY + int(rng.integers(HOUR))
                stream.add(at_ms, f"actor-{actor if actor < 20 else (actor, day)}", f"item-{rng.integers(40)}")
    stream.rows.sort(key=lambda row: row[0])
    pipeline = fold(stream, TRUSTING)
    listed, low, total = set(pipeline.trend.leaders()[:20].tolist()), 0.0, 0.0
    pairs = pipeline.trend.pairs
    for item, at_ms, weight in zip(pairs["item"], pairs["at_ms"], pairs["weight"], strict=True):
        if int(item) in listed and weight > 0:
            mass = float(weight) * 0.5 ** ((pipeline.stream_ms - int(at_ms)) / 300_000)
            total += mass
            low += mass if weight < WEIGHT_ONE / 5 else 0
    assert 0 < low < total
    assert low_trust_share(pipeline) == pytest.approx(low / total, abs=1e-3)


def test_that_fresh_accounts_who_take_the_board_show():
    pipeline = fold(readers(n_events=400), TRUSTING)
    before = watch(pipeline)
    stream = Stream()
    for bot in range(300):
        stream.add(pipeline.stream_ms, f"mal-{bot}", "push", Kind.CLICK)
    pipeline.step(stream.batch(pipeline))
    assert watch(pipeline).top_share > before.top_share


def test_that_shares_stopped_are_of_the_last_hour():
    pressure = Pressure()
    pressure.learn(verdicts(admitted=70, held=20, quarantined=10), T0)
    assert (pressure.share(HELD), pressure.share(QUARANTINED)) == (0.2, 0.1)
    pressure.learn(verdicts(admitted=100), T0 + 20 * HOUR)
    assert pressure.share(HELD) < 1e-3
    assert pressure.share(HELD, is_long=True) == pytest.approx(0.1, abs=0.01)


def test_that_more_events_just_below_what_is_stopped_are_pressure():
    pressure, usual = Pressure(), verdicts(admitted=990, nearly=10)
    for hour in range(200):
        pressure.learn(usual, T0 + hour * HOUR)
        assert pressure.share(NEARLY) == pytest.approx(0.01, abs=1e-4)
        assert pressure.ratio == pytest.approx(1.0, abs=0.15)
    for hour in range(200, 204):
        pressure.learn(verdicts(admitted=950, nearly=50), T0 + hour * HOUR)
    assert pressure.ratio > 3


def test_that_pressure_survives_a_checkpoint():
    one, other = Pressure(), Pressure()
    one.learn(verdicts(admitted=7, nearly=3), T0 + 5)
    other.restore(one.state())
    for each in (one, other):
        each.learn(verdicts(admitted=5, held=1), T0 + HOUR)
    np.testing.assert_array_equal(one.state()["counts"], other.state()["counts"])
