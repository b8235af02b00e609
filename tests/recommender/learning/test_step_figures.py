"""Figures over recorded steps cover exactly the shard and time asked for."""

import pytest

from recommender.core.vocabulary import MINUTE_MS
from recommender.learning import step_figures
from recommender.learning.step_figures import QualityPoint
from recommender.models import Step, Watched

pytestmark = pytest.mark.django_db
NOTHING = dict.fromkeys(
    ("drift", "top_share", "gini", "low_trust_share", "least_trust", "held_share", "quarantine_share", "pressure"),
    0.0,
) | {"steady_hit_rate": 0.0, "lag_s": 0.0, "level": 0, "least_actors": 0}


def step(number, at_ms, n_events, *, shard=0):
    return Step.objects.create(
        **{"shard": shard, "number": number, "stream_ms": at_ms, "n_events": n_events, "to_seq": 100 * number},
        **dict.fromkeys(("from_xid", "from_seq", "to_xid"), number),
        **dict.fromkeys(("n_admitted", "n_predicted", "n_hits"), 0),
        **{"reciprocal_ranks": 0.0, "duration_ms": 1.0},
    )


def watched(number, at_ms, *, shard=0, n=100, hit_rate=0.5, n_trusted=0):
    return Watched.objects.create(
        **{"shard": shard, "step": number, "stream_ms": at_ms, "hit_rate": hit_rate, "n_predictions": n},
        **{"trusted_hit_rate": 0.8, "n_trusted": n_trusted, "canary_hit_rate": 0.3, "n_canary": 0},
        **NOTHING,
    )


def test_events_are_counted_by_minute_after_a_step_and_since_a_time():
    step(1, 10 * MINUTE_MS, 1)
    step(2, 10 * MINUTE_MS + 1, 2)  # before the requested time
    step(3, 11 * MINUTE_MS, 4)
    step(4, 11 * MINUTE_MS + 59_999, 8)
    step(5, 12 * MINUTE_MS, 16)
    step(5, 12 * MINUTE_MS, 32, shard=1)
    found = step_figures.count_by_minute(shard=0, after_step=1, since_ms=11 * MINUTE_MS)
    assert found == {11 * MINUTE_MS: 12, 12 * MINUTE_MS: 16}
    assert step_figures.count_by_minute(shard=0, after_step=4, since_ms=0) == {12 * MINUTE_MS: 16}
    assert step_figures.count_by_minute(shard=2, after_step=0, since_ms=0) == {}


def test_events_of_the_last_moments_are_counted_after_each_of_two_times():
    for number, at_ms, n_events in ((1, 1000, 1), (2, 2000, 2), (3, 3000, 4)):
        step(number, at_ms, n_events)
    assert step_figures.count_lately(shard=0, after_step=0, now_ms=2000, lately_ms=1000) == (4, 6)
    assert step_figures.count_lately(shard=0, after_step=3, now_ms=0, lately_ms=0) == (0, 0)


def test_quality_is_one_point_a_bucket_over_the_shards_asked_for():
    for number, at_ms in ((1, 1000), (2, 1900), (3, 2000)):
        step(number, at_ms, 1)
        watched(number, at_ms, n=100, hit_rate=0.5, n_trusted=10)
    watched(7, 1500, shard=1, n=300, hit_rate=0.9)  # its step is no longer recorded
    watched(8, 1500, shard=2, n=300, hit_rate=0.1)
    first, second = step_figures.list_points(shards=[0, 1], from_ms=1000, to_ms=3000, width_ms=1000)
    assert (first.at_ms, first.first_step, first.last_step, first.to_seq) == (1900, 2, 7, 200)
    assert first.hit_rate == pytest.approx((200 * 0.5 + 300 * 0.9) / 500)
    assert first.trusted_hit_rate == pytest.approx(0.8)
    assert first.canary_hit_rate is None
    assert second == QualityPoint(2000, 3, 3, 300, 0.5, pytest.approx(0.8), None)
    assert step_figures.list_points(shards=[], from_ms=1000, to_ms=3000, width_ms=1000) == []
