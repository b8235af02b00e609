"""Prequential evaluation: predicted before learned, seen items left out, yesterday's list as the yardstick."""

import pytest

from recommender.core.evaluation import WINDOW_HOURS
from recommender.core.events import Kind
from recommender.core.pipeline import Pipeline
from tests.streams import HOUR, SMALL, T0, Stream, fold, readers

DAY = 24 * HOUR


def step(pipeline, stream):
    return pipeline.step(stream.batch(pipeline)).quality


def test_the_first_event_of_all_is_a_miss_and_the_next_a_hit():
    pipeline = Pipeline(SMALL)
    assert step(pipeline, Stream().add(T0, "ana", "x")).hits == 0
    quality = step(pipeline, Stream().add(T0 + 1000, "ben", "x"))
    assert (quality.n, quality.hits, quality.reciprocal_ranks) == (1, 1, 1.0)


def test_events_of_one_step_do_not_help_each_other():
    quality = step(Pipeline(SMALL), Stream().add(T0, "ana", "x").add(T0, "ben", "x"))
    assert (quality.n, quality.hits) == (2, 0)


def test_only_the_first_act_on_an_item_is_predicted():
    pipeline = fold(Stream().add(T0, "ana", "x"))
    assert step(pipeline, Stream().add(T0 + 1, "ana", "x").add(T0 + 2, "ana", "x", Kind.LIKE)).n == 0


def test_exposures_and_undos_are_not_predicted():
    stream = Stream().add(T0, "ana", "x", Kind.EXPOSURE).add(T0, "ana", "y", Kind.UNDO)
    assert step(Pipeline(SMALL), stream).n == 0


def test_items_the_actor_has_seen_are_left_out_of_the_list():
    stream = Stream()
    for reader in range(3):
        stream.add(T0, f"reader-{reader}", "first")
    for reader in range(2):
        stream.add(T0, f"reader-{reader}", "second")
    pipeline = fold(stream.add(T0, "ana", "first"))
    quality = step(pipeline, Stream().add(T0 + 1, "ana", "second"))
    assert quality.reciprocal_ranks == 1.0  # the first place of what is new to her
    quality = step(pipeline, Stream().add(T0 + 2, "ben", "second"))
    assert quality.reciprocal_ranks == 0.5


def test_the_twenty_first_place_is_a_miss():
    stream = Stream()
    for item in range(21):
        for reader in range(60 - 2 * item):
            stream.add(T0, f"reader-{reader}", f"item-{item}")
    pipeline = fold(stream, every=10_000)
    assert step(pipeline, Stream().add(T0 + 1, "ana", "item-20")).hits == 0
    assert step(pipeline, Stream().add(T0 + 2, "ben", "item-19")).hits == 1


def test_the_daily_list_is_yesterdays_and_changes_at_midnight():
    pipeline = fold(Stream().add(T0, "ana", "x"))
    step(pipeline, Stream().add(T0 + HOUR, "ben", "x"))
    assert pipeline.evaluation.total("daily").hits == 0
    step(pipeline, Stream().add(T0 + DAY, "cem", "x"))
    assert pipeline.evaluation.total("daily").hits == 1
    step(pipeline, Stream().add(T0 + 3 * DAY, "dan", "x"))  # nothing was read the day before
    assert pipeline.evaluation.total("daily").hits == 1


def test_recent_quality_forgets_and_total_does_not():
    pipeline = fold(readers(seconds=3600))
    total = pipeline.evaluation.total("trending")
    assert pipeline.evaluation.recent("trending", 1).n == total.n
    step(pipeline, Stream().add(T0 + (WINDOW_HOURS + 1) * HOUR, "ana", "new"))
    assert pipeline.evaluation.recent("trending").n == 1
    assert pipeline.evaluation.total("trending").n == total.n + 1


def test_steps_add_up_to_the_total():
    stream, pipeline = readers(), Pipeline(SMALL)
    steps = [pipeline.step(stream.batch(pipeline, start, start + 100)).quality for start in range(0, 2000, 100)]
    total = pipeline.evaluation.total("trending")
    assert (sum(each.n for each in steps), sum(each.hits for each in steps)) == (total.n, total.hits)
    assert sum(each.reciprocal_ranks for each in steps) == pytest.approx(total.reciprocal_ranks)
    assert 0 < total.mean_reciprocal_rank < total.hit_rate < 1
