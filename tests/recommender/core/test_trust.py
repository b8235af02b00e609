"""Test that trust is earned by coming back, and not by clicking more.

No schedule of visits earns it faster than the bound.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.pipeline import Pipeline
from recommender.core.trust import TrustConfig
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, T0, TRUSTING, Stream, fold, readers, score

DAY = 24 * HOUR
CONFIG = replace(TRUSTING, actor_budget=10_000)


def weight_of(pipeline: Pipeline, actor: str, at_ms: int) -> float:
    """Return the weight that a click of the actor would have at that time."""
    copy = Pipeline.from_bytes(pipeline.to_bytes())
    copy.step(Stream().add(at_ms, actor, "probe").batch(copy))
    return score(copy, "probe")


def visits(days, n_items=1, actor="ana") -> Stream:
    """Return visits with `n_items` items on each of these days."""
    stream = Stream()
    for day in days:
        for item in range(n_items):
            stream.add(T0 + day * DAY + 1000 * item, actor, f"item-{day}-{item}")
    return stream


def test_a_fresh_actor_weighs_the_floor():
    assert weight_of(Pipeline(CONFIG), "mal", T0) == pytest.approx(0.05, abs=1e-4)


def test_a_thousand_clicks_in_an_hour_earn_nothing_in_that_hour():
    busy = visits([0], n_items=1000)
    assert weight_of(fold(busy, CONFIG, every=1000), "ana", T0 + 2 * HOUR) == pytest.approx(0.05, abs=1e-4)


def test_weight_grows_with_days_and_with_different_items():
    idle, keen = visits(range(3)), visits(range(3), n_items=10)
    weights = [weight_of(fold(stream, CONFIG), "ana", T0 + 3 * DAY) for stream in (idle, keen)]
    assert 0.05 < weights[0] < weights[1]
    assert weights[0] == pytest.approx(0.05 + 0.95 * 0.3, abs=0.01)


def test_the_same_item_again_is_no_other_item():
    stream = Stream()
    for click in range(50):
        stream.add(T0 + click * 1000, "mal", "x")
    once = fold(Stream().add(T0, "mal", "x"), CONFIG)
    assert weight_of(fold(stream, CONFIG), "mal", T0 + DAY) == weight_of(once, "mal", T0 + DAY)


def test_a_day_begins_twenty_hours_after_the_last_and_not_at_midnight():
    stream = Stream().add(T0 + 23 * HOUR, "mal", "x").add(T0 + 25 * HOUR, "mal", "y")
    assert weight_of(fold(stream, CONFIG), "mal", T0 + 26 * HOUR) == pytest.approx(0.05, abs=1e-4)


def test_trust_fades_when_an_actor_stays_away():
    pipeline = fold(visits(range(12), n_items=10), CONFIG)
    assert weight_of(pipeline, "ana", T0 + 12 * DAY) == pytest.approx(1.0, abs=0.01)
    month = weight_of(pipeline, "ana", T0 + 11 * DAY + 20 * HOUR + 30 * DAY)
    assert month == pytest.approx(0.05 + 0.95 * 0.5, abs=0.07)
    assert weight_of(pipeline, "ana", T0 + 1000 * DAY) == pytest.approx(0.05, abs=1e-3)


def test_exposures_and_undos_earn_nothing():
    stream = Stream()
    for day in range(10):
        stream.add(T0 + day * DAY, "mal", "x", Kind.EXPOSURE).add(T0 + day * DAY, "mal", "x", Kind.UNDO)
    assert weight_of(fold(stream, CONFIG), "mal", T0 + 10 * DAY) == pytest.approx(0.05, abs=1e-4)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 30 * HOUR), st.integers(0, 40)), min_size=1, max_size=80),
    st.sampled_from([TrustConfig(), TrustConfig(floor=0.2, full=5, day_h=6), TrustConfig(idle_half_life_days=1)]),
)
def test_no_schedule_beats_the_documented_bound(acts, trust):
    config = replace(CONFIG, trust=trust)
    pipeline, now, days, begun = Pipeline(config), T0, 0, -1.0
    for gap, item in acts:
        now += gap
        if begun < 0 or now - begun >= trust.day_h * HOUR:
            days, begun = days + 1, now
        probe = f"probe-{now}-{item}"
        pipeline.step(Stream().add(now, "mal", probe).batch(pipeline))
        assert score(pipeline, probe) <= trust.weight_bound(days) + 1e-3


def test_a_floor_of_one_switches_trust_off():
    config = replace(CONFIG, trust=TrustConfig(floor=1.0))
    assert weight_of(Pipeline(config), "mal", T0) == pytest.approx(1.0)


def test_a_trusted_crowd_outweighs_a_larger_fresh_one():
    stream = Stream()
    for day in range(8):
        for reader in range(10):
            stream.add(T0 + day * DAY + reader, f"reader-{reader}", f"daily-{day}")
    now = T0 + 8 * DAY
    for reader in range(10):
        stream.add(now, f"reader-{reader}", "story")
    for bot in range(100):
        stream.add(now, f"bot-{bot}", "push")
    pipeline = fold(stream, CONFIG)
    assert pipeline.board(2).items == ["story", "push"]


def test_trust_costs_honest_readers_next_to_nothing_on_a_small_site():
    stream = readers(n_events=6000, n_actors=150, seconds=8 * 86_400)
    plain, trusting = (
        fold(stream, replace(CONFIG, trust=TrustConfig(floor=floor)), every=5).evaluation.total("trending")
        for floor in (1.0, 0.05)
    )
    assert trusting.hit_rate > 0.97 * plain.hit_rate


@pytest.mark.parametrize(
    "wrong",
    [{"floor": 0.0}, {"floor": 1.1}, {"full": 0.0}, {"per_day": -1.0}, {"day_h": 0.0}, {"idle_half_life_days": 0.0}],
)
def test_rules_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"floor|points|full|idle"):
        TrustConfig(**wrong)


def test_nan_is_no_floor():
    with pytest.raises(ValueError, match="floor"):
        TrustConfig(floor=np.nan)
