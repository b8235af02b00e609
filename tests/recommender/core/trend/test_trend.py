"""Test counts against a reference.

They are exact, capped for any input, and the same for any cut of the stream.
"""

from collections import defaultdict
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.events import country_code
from recommender.core.pipeline import KIND_WEIGHTS, Config, Pipeline
from recommender.core.tables import decay
from recommender.core.tables.table import strongest
from recommender.core.trend import count_breakdowns, trend_columns
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, MINUTE, SMALL, T0, Stream, fold, readers, score, stream_of

TOLERANCE = 4e-4  # ticks of 1/4096 of a half-life: 0.017 %, and the rounding of three epochs


def reference(stream: Stream, now_ms: int, half_life_s: int, config: Config) -> dict[str, float]:
    """Compute units by their rules in ten lines.

    It uses floats and dictionaries, and no budget or bounds.
    """
    units = defaultdict(list)
    for received, claimed, actor, item, kind, _ in stream.rows:
        at, weight = min(max(claimed, received - config.lateness_s * 1000), received), KIND_WEIGHTS[kind.name.lower()]
        unit = units[actor, item][-1] if units[actor, item] else {"at": -inf, "weight": 0, "is_undone": False}
        if kind == Kind.UNDO:
            unit["is_undone"] = True
        elif weight and at - unit["at"] >= config.horizon_s * 1000:
            units[actor, item].append({"at": at, "weight": weight, "is_undone": False})
        elif weight and unit["at"] - at < config.horizon_s * 1000:
            unit.update(at=min(at, unit["at"]), weight=max(weight, unit["weight"]), is_undone=False)
    scores = defaultdict(float)
    for (_, item), known in units.items():
        for unit in known:
            scores[item] += (
                unit["weight"] * 2 ** ((unit["at"] - now_ms) / 1000 / half_life_s) * (not unit["is_undone"])
            )
    return scores


acts = st.lists(
    st.tuples(
        st.integers(0, 12 * HOUR),  # gap to the previous act
        st.integers(-HOUR, 8 * HOUR),  # its lateness, negative: from the future
        st.sampled_from("abc"),
        st.sampled_from("xyz"),
        st.sampled_from([Kind.VIEW, Kind.CLICK, Kind.CLICK, Kind.UNDO, Kind.PURCHASE, Kind.EXPOSURE]),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(acts, st.integers(1, 7))
def test_scores_equal_the_reference(rows, every):
    config = replace(SMALL, actor_budget=10_000)
    stream = stream_of(rows)
    pipeline = fold(stream, config, every=every)
    for half, half_life_s in enumerate(config.half_lives_s):
        expected = reference(stream, pipeline.stream_ms, half_life_s, config)
        for item in "xyz":
            assert score(pipeline, item, half) == pytest.approx(expected[item], rel=TOLERANCE, abs=1e-4)


@settings(max_examples=100)
@given(acts, st.integers(1, 40))
def test_the_cut_into_steps_changes_no_count(rows, every):
    stream = stream_of(rows)
    one, other = fold(stream, every=1), fold(stream, every=every)
    assert one.trend.names == other.trend.names
    for half in range(len(SMALL.half_lives_s)):
        np.testing.assert_array_equal(one.trend.counts(half), other.trend.counts(half))


@settings(max_examples=100)
@given(acts)
def test_the_sorted_leaders_are_what_a_full_sort_gives(rows):
    trend = fold(stream_of(rows), every=3).trend
    counts, keys = trend.counts(), trend.items.keys[: len(trend.items)]
    rows = np.flatnonzero(counts > 0)
    rows = rows[np.lexsort((keys[rows], -counts[rows]))]
    np.testing.assert_array_equal(trend.leaders(), keys[rows][: trend_columns.LIST_DEPTH])


def test_with_more_items_than_places_the_leaders_are_still_the_best():
    trend = fold(readers(n_events=4000, n_items=400, n_actors=900), every=64).trend
    counts, keys = trend.counts(), trend.items.keys[: len(trend.items)]
    best = np.lexsort((keys, -counts))[: trend_columns.LIST_DEPTH]
    assert len(trend.items) > trend_columns.LIST_DEPTH
    np.testing.assert_array_equal(trend.leaders(), keys[best])


def test_clicking_again_within_the_horizon_neither_adds_nor_refreshes():
    once = fold(Stream().add(T0, "mal", "x").add(T0 + HOUR, "ana", "y"))
    again = Stream().add(T0, "mal", "x")
    for minute in range(60):
        again.add(T0 + minute * MINUTE, "mal", "x")
    assert score(fold(again.add(T0 + HOUR, "ana", "y")), "x") == score(once, "x")


def test_after_the_horizon_a_click_counts_again():
    stream = Stream().add(T0, "ana", "x").add(T0 + 6 * HOUR, "ana", "x")
    assert score(fold(stream), "x", half=1) == pytest.approx(1 + 2**-6, rel=TOLERANCE)


def test_an_undo_takes_out_exactly_what_was_added():
    stream = readers(n_events=300).add(T0 + 3 * HOUR, "mal", "item-1").add(T0 + 3 * HOUR, "mal", "item-1", Kind.UNDO)
    without = readers(n_events=300).add(T0 + 3 * HOUR, "mal", "item-1", Kind.EXPOSURE)
    np.testing.assert_array_equal(fold(stream).trend.counts(), fold(without).trend.counts())


def test_undo_and_click_do_not_refresh_a_unit():
    stream = Stream().add(T0, "mal", "x").add(T0 + HOUR, "mal", "x", Kind.UNDO).add(T0 + HOUR, "mal", "x")
    assert score(fold(stream), "x", half=1) == pytest.approx(1 / 2, rel=TOLERANCE)


def keys(pipeline, actors, items):
    return pipeline.encoder.keys(actors), pipeline.encoder.keys(items)


def test_what_is_retracted_leaves_no_trace_in_the_counts():
    bots = [f"mal-{number}" for number in range(50)]
    stream = readers(n_events=500)
    attacked = Stream([*stream.rows])
    for number, bot in enumerate(bots):
        attacked.add(T0 + 2 * HOUR + number, bot, "item-30", country=country_code("DE"))
    attacked.add(T0 + 3 * HOUR, "ana", "y")
    clean, pipeline = fold(stream.add(T0 + 3 * HOUR, "ana", "y")), fold(attacked)
    assert pipeline.trend.retract(*keys(pipeline, bots, ["item-30"] * 50)) == 50
    assert pipeline.board(20).items == clean.board(20).items
    assert [score(pipeline, item) for item in clean.trend.names] == [score(clean, item) for item in clean.trend.names]
    assert "DE" not in count_breakdowns.region_counts(pipeline.trend)
    assert pipeline.trend.retract(*keys(pipeline, bots, ["item-30"] * 50)) == 0


def test_a_retracted_pair_counts_again_after_the_horizon_only():
    pipeline = fold(Stream().add(T0, "mal", "x"))
    pipeline.trend.retract(*keys(pipeline, ["mal"], ["x"]))
    pipeline.step(Stream().add(T0 + HOUR, "mal", "x").add(T0 + HOUR, "mal", "x", Kind.UNDO).batch(pipeline))
    assert score(pipeline, "x") == 0
    pipeline.step(Stream().add(T0 + 7 * HOUR, "mal", "x").batch(pipeline))
    assert score(pipeline, "x") == pytest.approx(1)


def test_to_retract_what_never_was_changes_nothing():
    pipeline = fold(readers())
    before = pipeline.digest()
    assert pipeline.trend.retract(*keys(pipeline, ["nobody"], ["nothing"])) == 0
    assert pipeline.digest() == before


def test_an_undo_of_nothing_changes_nothing():
    assert fold(Stream().add(T0, "mal", "x", Kind.UNDO)).trend.names == []


def test_a_late_event_counts_at_its_own_time():
    stream = Stream().add(T0, "ana", "x", received_ms=T0 + HOUR)
    assert score(fold(stream), "x", half=1) == pytest.approx(1 / 2, rel=TOLERANCE)


def test_an_event_from_the_future_counts_as_of_its_arrival():
    stream = Stream().add(T0 + 8 * HOUR, "mal", "x", received_ms=T0)
    assert fold(stream).stream_ms == T0
    assert score(fold(stream), "x") == pytest.approx(1)


def test_kinds_weigh_what_the_configuration_says_and_the_strongest_counts():
    stream = Stream().add(T0, "ana", "x", Kind.VIEW).add(T0, "ben", "y", Kind.VIEW).add(T0, "ben", "y", Kind.PURCHASE)
    pipeline = fold(stream)
    assert (score(pipeline, "x"), score(pipeline, "y")) == (pytest.approx(0.25), pytest.approx(1))


def test_countries_are_counted_apart():
    germany = country_code("DE")
    pipeline = fold(Stream().add(T0, "ana", "x", country=germany).add(T0, "ben", "x").add(T0, "ben", "y"))
    rows, counts = count_breakdowns.region_counts(pipeline.trend)["DE"]
    assert [pipeline.trend.names[row] for row in rows] == ["x"]
    assert counts[0] == pipeline.trend.unit(T0)
    assert score(pipeline, "x") == 2


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, HOUR), st.integers(0, 30), st.sampled_from(list(Kind))), max_size=150),
    st.integers(1, 9),
)
def test_one_actor_never_has_more_than_its_budget(rows, budget):
    stream, now = Stream(), T0
    pipeline = Pipeline(replace(SMALL, actor_budget=budget))
    for gap, item, kind in rows:
        now += gap // 10
        stream.add(now, "mal", f"item-{item}", kind)
        pipeline.step(stream.batch(pipeline, len(stream.rows) - 1))
        for half in range(2):
            total = pipeline.trend.counts(half).sum() / pipeline.trend.unit(pipeline.stream_ms, half)
            assert total <= budget * (1 + TOLERANCE)


def test_a_budget_comes_back_with_time():
    config = replace(SMALL, actor_budget=1)
    stream = Stream().add(T0, "ana", "x").add(T0, "ana", "y").add(T0 + 24 * HOUR, "ana", "z")
    pipeline = fold(stream, config)
    assert score(pipeline, "y") == 0
    assert score(pipeline, "z") == 0  # 2**-24 of the first unit is still spent
    again = stream.add(T0 + 24 * 60 * HOUR, "ana", "z")
    assert score(fold(again, config), "z") == pytest.approx(1)


def test_counts_of_shards_add_up_to_the_counts_of_one():
    stream = readers()
    shards = [Stream([row for row in stream.rows if int(row[2].split("-")[1]) % 2 == shard]) for shard in range(2)]
    end = Stream().add(T0 + 2 * HOUR, "clock", "clock", Kind.EXPOSURE).rows  # both arrive at the same stream time
    whole = fold(Stream(stream.rows + end))
    parts = [fold(Stream(shard.rows + end)) for shard in shards]
    for row, item in enumerate(whole.trend.names):
        parted = [
            part.trend.items["counts"][part.trend.names.index(item)] for part in parts if item in part.trend.names
        ]
        np.testing.assert_array_equal(sum(parted), whole.trend.items["counts"][row])


def test_old_epochs_are_forgotten():
    pipeline = fold(Stream().add(T0, "ana", "x").add(T0 + 300_000 * 24, "ben", "y"))
    assert score(pipeline, "x") == 0
    assert pipeline.board(10).items == ["y"]


def test_every_table_stays_within_its_bound_and_keeps_the_strongest():
    config = replace(SMALL, max_items=64, max_regions=64, max_pairs=256, max_actors=64)
    stream = readers(n_events=200, n_items=4)
    for number in range(5000):
        stream.add(T0 + 2 * HOUR + number, f"mal-{number}", f"junk-{number}", country=country_code("FR"))
    pipeline = fold(stream, config, every=50)
    trend = pipeline.trend
    assert (len(trend.items), len(trend.regions)) <= (64 + 50, 64 + 50)
    assert (len(trend.pairs), len(trend.actors)) <= (256 + 50, 64 + 50)
    assert "item-0" in trend.names
    assert Pipeline.from_bytes(pipeline.to_bytes()).digest() == pipeline.digest()


def test_the_oldest_units_are_forgotten_first():
    config = replace(SMALL, max_pairs=100)
    stream = Stream()
    for number in range(101):
        stream.add(T0 + number, "ana", f"item-{number}")
    pairs = fold(stream, replace(config, actor_budget=1000), every=1).trend.pairs
    assert sorted(pairs["at_ms"]) == list(range(T0 + 101 - 87, T0 + 101))


def test_strongest_breaks_ties_by_key():
    rows = strongest(np.array([5, 1, 5, 5]), np.array([9, 1, 3, 7], np.uint64), 2)
    assert rows.tolist() == [2, 3]


def test_powers_of_two_are_right():
    expected = 2.0 ** (decay.POW_BITS + np.arange(decay.TICKS + 1) / decay.TICKS)
    np.testing.assert_allclose(decay.POW, expected, atol=0.500001, rtol=0)


@pytest.mark.parametrize(
    "wrong", [{"half_lives_s": ()}, {"half_lives_s": (0,)}, {"horizon_s": 0}, {"actor_budget": 0}]
)
def test_a_trend_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        Pipeline(replace(SMALL, **wrong))
