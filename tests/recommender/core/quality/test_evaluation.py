"""Test prequential evaluation: predict first, skip seen items, daily yardstick."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.pipeline import Pipeline
from recommender.core.quality import Evaluation
from recommender.core.quality.evaluation import LISTS, POPULATIONS, STEADY_MS, WINDOW_HOURS
from recommender.core.tables import hashing
from recommender.core.trust import WEIGHT_ONE
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, SMALL, T0, TRUSTING, Stream, fold, readers

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
    assert quality.reciprocal_ranks == 1.0  # first among the items that are new to her
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


PANEL = replace(TRUSTING, canary_share=0.3)
CLOCK = next(name for name in map(str, range(99)) if not Pipeline(PANEL).evaluation.is_canary(
    Pipeline(PANEL).encoder.key(name)
))  # fmt: skip
rows = st.tuples(
    st.integers(0, 3 * HOUR // 1000),
    st.integers(0, 14),
    st.integers(0, 5),
    st.sampled_from([Kind.CLICK, Kind.VIEW, Kind.LIKE, Kind.UNDO, Kind.EXPOSURE]),
    st.integers(0, 2),
)


def learned(acts, without_canaries):
    """Learn acts in steps of ten, each ended by an event that only moves the time."""
    pipeline = Pipeline(PANEL)
    for first in range(0, len(acts), 10):
        stream = Stream()
        for at_s, actor, item, kind, country in acts[first : first + 10]:
            if not (without_canaries and is_canary(pipeline, f"actor-{actor}")):
                stream.add(T0 + 1000 * at_s, f"actor-{actor}", f"item-{item}", kind, country=country)
        stream.add(T0 + 1000 * max(act[0] for act in acts[: first + 10]), CLOCK, "nothing", Kind.EXPOSURE)
        pipeline.step(stream.batch(pipeline))
    return pipeline


def is_canary(pipeline, name):
    return pipeline.evaluation.is_canary(pipeline.encoder.key(name))


@settings(max_examples=60)
@given(st.lists(rows, min_size=1, max_size=80))
def test_that_canaries_move_no_count_by_one_bit(acts):
    whole, without = learned(acts, False), learned(acts, True)
    theirs = {
        int(hashing.mix(np.uint64(whole.encoder.key(f"actor-{actor}")), np.uint64(whole.encoder.key(f"item-{item}"))))
        for _, actor, item, _, _ in acts
        if is_canary(whole, f"actor-{actor}")
    }
    state, clean = whole.trend.state(), without.trend.state()
    pairs, clean_pairs = state.pop("pairs"), clean.pop("pairs")
    for name, table in clean.items():
        for column, values in table.items() if isinstance(table, dict) else ((name, table),):
            np.testing.assert_array_equal(state[name][column] if isinstance(table, dict) else state[name], values)
    kept = np.array([key not in theirs for key in pairs["keys"].tolist()], bool)
    for column, values in clean_pairs.items():
        np.testing.assert_array_equal(pairs[column][kept], values)
    assert (pairs["weight"][~kept] == 0).all()
    np.testing.assert_array_equal(
        whole.evaluation.state()["reads"]["reads"], without.evaluation.state()["reads"]["reads"]
    )


def test_that_canaries_are_predicted_and_what_they_saw_is_left_out():
    config = replace(SMALL, canary_share=0.3)
    canary = next(name for name in map(str, range(99)) if is_canary(Pipeline(config), name))
    pipeline = Pipeline(config)
    for number, reader in enumerate(name for name in map(str, range(99)) if not is_canary(pipeline, name)):
        step(pipeline, Stream().add(T0 + number, reader, "first" if number % 3 else "second"))
    for item, place in (("first", 1), ("second", 1)):
        result = pipeline.step(Stream().add(T0 + HOUR // 60, canary, item).batch(pipeline))
        assert result.canary.places[place] == result.quality.places[place] == 1
    assert pipeline.step(Stream().add(T0 + HOUR // 60, canary, "first").batch(pipeline)).canary.n == 0


def test_that_populations_are_counted_right_by_brute_force():
    config = replace(TRUSTING, canary_share=0.2)
    pipeline, counted = Pipeline(config), Counter()
    for day in range(6):
        rng = np.random.default_rng(day)
        for number in range(150):
            actor, item = f"actor-{rng.integers(20)}", f"item-{day}-{rng.integers(30)}"
            stream = Stream().add(T0 + day * DAY + number * 60_000, actor, item)
            result = pipeline.step(stream.batch(pipeline))
            row = int(
                hashing.find(
                    pipeline.trend.actors.slots, pipeline.trend.actors.keys, np.uint64(pipeline.encoder.key(actor))
                )
            )
            population = "canary" if is_canary(pipeline, actor) else "all"
            if population == "all":
                rules = config.trust.rules()
                earned = int(pipeline.trend.actors["earned"][row])
                if rules.floor + (WEIGHT_ONE - rules.floor) * earned // rules.full >= WEIGHT_ONE / 2:
                    population = "trusted"
            for name in {"all", population}:
                counted[name, "n"] += result.quality.n
                counted[name, "hits"] += result.quality.hits
            assert result.trusted.n == (result.quality.n if population == "trusted" else 0)
            assert result.canary.n == (result.quality.n if population == "canary" else 0)
    for name in POPULATIONS:
        total = pipeline.evaluation.total("trending", name)
        assert (total.n, total.hits) == (counted[name, "n"], counted[name, "hits"])
        assert total.n > 20


def test_that_the_panel_has_its_share_of_actors_and_depends_on_the_secret():
    keyed = [Pipeline(replace(SMALL, canary_share=0.01, secret=secret)) for secret in ("", "ab" * 16)]
    panels = [{name for name in range(20_000) if is_canary(each, str(name))} for each in keyed]
    assert all(140 < len(panel) < 260 for panel in panels)
    assert len(panels[0] & panels[1]) < 10


def test_that_nobody_is_on_a_panel_of_nothing():
    assert not any(is_canary(Pipeline(SMALL), str(name)) for name in range(2000))


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_that_a_panel_of_more_than_half_is_refused(share):
    with pytest.raises(ValueError, match="panel"):
        Evaluation(max_items=10, canary_share=share)


def test_that_the_steady_list_is_of_the_longer_half_life_and_made_anew_from_time_to_time():
    stream = Stream()
    for reader in range(30):
        stream.add(T0, f"early-{reader}", "story")
    pipeline = fold(stream, every=1000)
    later = T0 + 50 * 60_000
    for number in range(25):  # 21 new items are ahead of an old story in the served list
        batch = Stream().add(later, f"late-{number}", f"new-{number}").add(later, f"also-{number}", f"new-{number}")
        pipeline.step(batch.batch(pipeline))
    pipeline.step(Stream().add(later + STEADY_MS, "ana", "story").batch(pipeline))
    assert pipeline.evaluation.recent("trending", 1).hits == 0 or "story" in pipeline.board(20).items
    assert pipeline.trend.names[0] == "story"
    assert pipeline.trend.best(1)[0] == pipeline.encoder.key("story")
    assert LISTS == ("trending", "daily", "steady", "personalised", "ranked")
