"""Test affinity: links equal a reference, are capped, and do not depend on cuts.

They are shown only from enough different actors on, and a removed unit leaves no trace in them.
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.affinity import Affinity
from recommender.core.affinity.affinity import SPAN_HALF_LIVES, AffinityConfig
from recommender.core.affinity.affinity_columns import HISTORY, N_NEIGHBOURS
from recommender.core.affinity.published_links import published_links
from recommender.core.decisions import DecidedEvents
from recommender.core.pipeline import Config, Pipeline
from recommender.core.vocabulary import Kind, Ruling
from tests.help.streams import HOUR, MINUTE, SCREENED, SMALL, T0, TRUSTING, Stream, fold, pushes, readers, stream_of

TOLERANCE = 4e-4  # as in test_trend
REACH = AffinityConfig().reach
# The horizon is longer than counts are kept for, so no actor is counted twice behind a link.
LONG = replace(SMALL, horizon_s=86_400)
EVERYTHING = replace(LONG, affinity=AffinityConfig(min_actors=1, min_weight=1e-4))  # no link is hidden


def links(pipeline: Pipeline) -> dict[tuple[str, str], float]:
    """Return every link's count that is not zero, in units."""
    names = dict(zip(pipeline.trend.items.keys.tolist(), pipeline.trend.names, strict=False))
    table, unit = pipeline.affinity.links, pipeline.affinity.unit(pipeline.stream_ms)
    rows = zip(table["source"].tolist(), table["target"].tolist(), pipeline.affinity.counts().tolist(), strict=True)
    return {(names[source], names[target]): count / unit for source, target, count in rows if count}


def exact(pipeline: Pipeline) -> dict[tuple[int, int], tuple[list[int], list[int]]]:
    """Return the stored integers of every link, and its actors by epoch, by keys."""
    table = pipeline.affinity.links
    rows = zip(table["source"].tolist(), table["target"].tolist(), table["counts"], table["actors"], strict=True)
    kept = {(source, target): (count[0].tolist(), actors.tolist()) for source, target, count, actors in rows}
    return {link: known for link, known in kept.items() if any(known[0]) or any(known[1])}


def reference(stream: Stream, now_ms: int, config: Config) -> dict[tuple[str, str], float]:
    """Apply the rules in ten lines to clicks on different items at their own times."""
    histories, counts = defaultdict(list), defaultdict(float)
    for _, at, actor, item, _, _ in stream.rows:
        for reach, (before, before_ms) in zip(REACH, reversed(histories[actor]), strict=False):
            if at - before_ms <= 1000 * config.affinity.window_s:
                counts[before, item] += reach * 2 ** ((at - now_ms) / 1000 / config.affinity.half_life_s)
        histories[actor].append((item, at))
    return counts


def names_beside(pipeline: Pipeline, item: str) -> list[str]:
    names = dict(zip(pipeline.trend.items.keys.tolist(), pipeline.trend.names, strict=False))
    shown = pipeline.affinity.neighbours(pipeline.encoder.key(item), pipeline.stream_ms)
    return [names[key] for key in shown.keys.tolist()]


def journeys(n_actors=30, n_items=12, seed=1, length=5, gap_ms=MINUTE) -> Stream:
    """Build a stream of actors who each read some items, one after the other."""
    rng = np.random.default_rng(seed)
    stream = Stream()
    for actor in range(n_actors):
        start = T0 + int(rng.integers(0, HOUR))
        for step, item in enumerate(rng.permutation(n_items)[:length].tolist()):
            stream.add(start + step * gap_ms + actor, f"reader-{actor}", f"item-{item}")
    stream.rows.sort()
    return stream


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([MINUTE, 11 * HOUR // 10]))
def test_links_equal_the_reference(seed, length, gap_ms):
    config = replace(EVERYTHING, affinity=replace(EVERYTHING.affinity, window_s=7200))
    stream = journeys(seed=seed, n_items=15, length=length, gap_ms=gap_ms)
    pipeline = fold(stream, config, every=7)
    expected = reference(stream, pipeline.stream_ms, config)
    found = links(pipeline)
    for link, count in expected.items():
        if count > 1e-2:  # older counts are dropped after three epochs
            assert found[link] == pytest.approx(count, rel=TOLERANCE, abs=1e-4)
    assert set(found) <= set(expected)


acts = st.lists(
    st.tuples(
        st.integers(0, HOUR),
        st.integers(-MINUTE, 2 * HOUR),  # how late it is; negative: its time is in the future
        st.sampled_from("abc"),
        st.sampled_from("uvwxyz"),
        st.sampled_from([Kind.VIEW, Kind.CLICK, Kind.CLICK, Kind.UNDO, Kind.PURCHASE, Kind.EXPOSURE]),
    ),
    max_size=60,
)


@settings(max_examples=25)
@given(acts, st.integers(1, 40))
def test_the_cut_into_steps_changes_no_link(rows, every):
    stream = stream_of(rows)
    assert exact(fold(stream, every=1)) == exact(fold(stream, every=every))


@settings(max_examples=25)
@given(st.permutations(range(HISTORY)), st.lists(st.integers(0, 3), min_size=HISTORY, max_size=HISTORY))
def test_links_do_not_depend_on_the_order_in_which_acts_arrive(order, times):
    now = T0 + HOUR
    in_order, shuffled = Stream(), Stream()
    for place in range(HISTORY):
        in_order.add(T0 + MINUTE * times[place], "ana", f"item-{place}", received_ms=now)
        shuffled.add(T0 + MINUTE * times[order[place]], "ana", f"item-{order[place]}", received_ms=now)
    assert exact(fold(in_order, every=1)) == exact(fold(shuffled, every=3))


@settings(max_examples=25)
@given(st.integers(2, HISTORY), st.data())
def test_a_unit_taken_out_is_as_if_it_had_never_been(n_acts, data):
    gone = data.draw(st.integers(0, n_acts - 1))
    stream, without = readers(n_events=200), readers(n_events=200)
    for place in range(n_acts):
        stream.add(T0 + 2 * HOUR + place * MINUTE, "mal", f"item-{place}")
        kind = Kind.EXPOSURE if place == gone else Kind.CLICK
        without.add(T0 + 2 * HOUR + place * MINUTE, "mal", f"item-{place}", kind)
    pipeline, clean = fold(stream), fold(without)
    pair = pipeline.encoder.keys(["mal"]), pipeline.encoder.keys([f"item-{gone}"])
    pipeline.affinity.retract(*pair)
    assert exact(pipeline) == exact(clean)
    pipeline.affinity.retract(*pair)
    assert exact(pipeline) == exact(clean)


def test_an_undo_takes_its_links_out_and_acting_again_puts_them_back():
    stream = Stream().add(T0, "ana", "x").add(T0 + 1, "ana", "y").add(T0 + 2, "ana", "z")
    before = exact(fold(stream))
    undone = Stream([*stream.rows]).add(T0 + 3, "ana", "y", Kind.UNDO)
    assert links(fold(undone)) == {("x", "z"): pytest.approx(1, rel=TOLERANCE)}
    assert exact(fold(undone.add(T0 + 4, "ana", "y"), every=1)) == before


def test_forgetting_an_actor_takes_all_its_links_out():
    stream = journeys()
    without = fold(Stream([row for row in stream.rows if row[2] != "reader-3"]))
    pipeline = fold(stream)
    pipeline.forget(pipeline.encoder.key("reader-3"))
    assert exact(pipeline) == exact(without)
    assert not len(pipeline.affinity.recent(pipeline.encoder.key("reader-3")))


def test_a_released_event_links_as_if_it_had_never_been_held():
    stream = Stream().add(T0, "ana", "x").add(T0 + MINUTE, "ana", "z")
    pipeline = fold(stream)
    late = Stream().add(T0 + 1000, "ana", "y").batch(pipeline)
    pipeline.step(late[:0], [DecidedEvents(Ruling.RELEASE, late)])
    whole = fold(Stream().add(T0, "ana", "x").add(T0 + 1000, "ana", "y").add(T0 + MINUTE, "ana", "z"))
    assert exact(pipeline) == exact(whole)


def test_what_is_confirmed_links_nothing_any_more():
    stream = readers(n_events=200).add(T0 + 2 * HOUR, "mal", "item-1").add(T0 + 2 * HOUR + 1, "mal", "push")
    pipeline, clean = fold(stream), fold(readers(n_events=200).add(T0 + 2 * HOUR, "mal", "item-1"))
    clean.step(Stream().add(T0 + 2 * HOUR + 1, "mal", "push", Kind.EXPOSURE).batch(clean))
    batch = Stream().add(T0 + 2 * HOUR + 1, "mal", "push").batch(pipeline)
    pipeline.step(batch[:0], [DecidedEvents(Ruling.CONFIRM, batch)])
    assert exact(pipeline) == exact(clean)


def test_canaries_link_nothing_but_are_known_to_have_read():
    pipeline = fold(journeys(), replace(EVERYTHING, canary_share=0.5))
    canaries = [n for n in range(30) if pipeline.evaluation.is_canary(pipeline.encoder.key(f"reader-{n}"))]
    others = Stream([row for row in journeys().rows if int(row[2].split("-")[1]) not in canaries])
    assert 0 < len(canaries) < 30
    assert exact(pipeline) == exact(fold(others, EVERYTHING))
    assert len(pipeline.affinity.recent(pipeline.encoder.key(f"reader-{canaries[0]}"))) == 5


def test_one_actor_adds_at_most_a_unit_to_a_link_whatever_it_sends():
    stream = Stream()
    for minute in range(300):
        for item in "xy" if minute % 2 else "yx":
            stream.add(T0 + minute * MINUTE, "mal", item)
            stream.add(T0 + minute * MINUTE + 1, "mal", item, Kind.UNDO if minute % 3 else Kind.PURCHASE)
    assert max(links(fold(stream, every=5)).values(), default=0) <= 1 + TOLERANCE


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(0, 1000))
def test_one_actor_never_adds_more_than_its_budget_times_the_reach(budget, seed):
    rng = np.random.default_rng(seed)
    stream, now = Stream(), T0
    for item in rng.integers(0, 40, 120).tolist():
        now += int(rng.integers(0, 5 * MINUTE))
        stream.add(now, "mal", f"item-{item}")
    pipeline = fold(stream, replace(SMALL, actor_budget=budget), every=9)
    assert sum(links(pipeline).values()) <= budget * sum(REACH) * (1 + TOLERANCE)


def test_a_link_weighs_as_much_as_the_lesser_of_its_acts():
    stream = Stream().add(T0, "ana", "x", Kind.VIEW).add(T0, "ana", "y").add(T0, "ben", "v").add(T0, "ben", "w")
    fresh = fold(stream, replace(TRUSTING, affinity=EVERYTHING.affinity))
    full = fold(stream, EVERYTHING)
    assert sorted(links(full).values()) == pytest.approx([0.25, 1.0], rel=TOLERANCE)
    assert sorted(links(fresh).values()) == pytest.approx([0.0125, 0.05], rel=0.01)


@settings(max_examples=15)
@given(st.integers(0, 100), st.sampled_from([40, N_NEIGHBOURS + 30]))
def test_the_listed_neighbours_are_what_a_full_sort_gives(seed, n_items):
    pipeline = fold(journeys(n_actors=400, n_items=n_items, seed=seed, length=6), EVERYTHING, every=50)
    affinity, table = pipeline.affinity, pipeline.affinity.links
    affinity.retract(*(pipeline.encoder.keys([name] * 3) for name in ("reader-7", "item-3")))
    counts, keys = affinity.counts(), table.keys[: len(table)]
    for item in range(5):
        rows = np.flatnonzero((table["source"] == pipeline.encoder.key(f"item-{item}")) & (counts > 0))
        best = rows[np.lexsort((keys[rows], -counts[rows]))][:N_NEIGHBOURS]
        shown = affinity.neighbours(pipeline.encoder.key(f"item-{item}"), pipeline.stream_ms)
        np.testing.assert_array_equal(shown.keys, table["target"][best])
        np.testing.assert_array_equal(shown.counts, counts[best])


def test_a_link_is_shown_from_three_actors_on():
    stream = Stream()
    for number in range(3):
        assert names_beside(fold(stream, LONG), "x") == []
        stream.add(T0 + number, f"reader-{number}", "x").add(T0 + 100 + number, f"reader-{number}", "y")
    assert names_beside(fold(stream, LONG), "x") == ["y"]


def test_where_an_actor_may_count_twice_within_the_span_twice_as_many_must_stand_behind_a_link():
    longer = SPAN_HALF_LIVES * 1800
    made = {
        horizon_s: Affinity(AffinityConfig(), horizon_s=horizon_s, longest_half_life_s=3600).min_actors
        for horizon_s in (longer + 1, longer, longer // 2)
    }
    assert list(made.values()) == [3, 6, 9]


def test_counts_of_shards_add_up_to_the_counts_of_one():
    stream = readers()
    shards = [Stream([row for row in stream.rows if int(row[2].split("-")[1]) % 2 == shard]) for shard in range(2)]
    end = Stream().add(T0 + 2 * HOUR, "clock", "clock", Kind.EXPOSURE).rows
    whole = exact(fold(Stream(stream.rows + end)))
    parts = [exact(fold(Stream(shard.rows + end))) for shard in shards]
    for link, (counts, actors) in whole.items():
        known = [part[link] for part in parts if link in part]
        assert counts == np.sum([each[0] for each in known], axis=0).tolist()
        assert actors == np.sum([each[1] for each in known], axis=0).tolist()


def test_what_a_history_has_forgotten_is_neither_taken_out_nor_counted_twice():
    stream = Stream()
    for number in range(HISTORY + 3):
        stream.add(T0 + number * MINUTE, "ana", f"item-{number}")
    pipeline = fold(stream, every=1)
    before = exact(pipeline)
    pipeline.affinity.retract(pipeline.encoder.keys(["ana"]), pipeline.encoder.keys(["item-0"]))
    assert exact(pipeline) == before
    pipeline.step(
        Stream()
        .add(T0 + HOUR, "ana", "item-0", Kind.UNDO)
        .add(T0 + HOUR, "ana", "item-0")
        .add(T0 + 1000, "ana", "late", received_ms=T0 + HOUR)
        .batch(pipeline)
    )
    assert exact(pipeline) == before


def test_every_table_stays_within_its_bound_and_keeps_the_strongest():
    bounds = AffinityConfig(max_histories=64, max_links=64, max_sources=32)
    stream = Stream()
    for number in range(20):
        stream.add(T0 + number, f"reader-{number}", "x").add(T0 + 100 + number, f"reader-{number}", "y")
    for number in range(3000):
        at_ms = T0 + MINUTE + number * 10
        stream.add(at_ms, f"mal-{number}", f"junk-{number}").add(at_ms + 5, f"mal-{number}", f"trash-{number}")
    pipeline = fold(stream, replace(SMALL, affinity=bounds), every=50)
    affinity = pipeline.affinity
    assert len(affinity.histories) <= 64
    assert len(affinity.links) <= 64
    assert len(affinity.sources) <= 32
    assert names_beside(pipeline, "x") == ["y"]
    assert Pipeline.from_bytes(pipeline.to_bytes()).digest() == pipeline.digest()


def test_an_actor_whose_history_went_does_not_count_again_for_what_is_past():
    config = replace(SMALL, affinity=AffinityConfig(max_histories=8), max_pairs=8)
    stream = Stream().add(T0, "ana", "x").add(T0 + 1, "ana", "y")
    for number in range(30):
        stream.add(T0 + 1000 + number, f"reader-{number}", "z")
    stream.add(T0, "ana", "x", received_ms=T0 + 5000).add(T0 + 1, "ana", "y", received_ms=T0 + 5000)
    assert max(links(fold(stream, config, every=1)).values()) <= 1


def test_what_no_epoch_knows_is_dropped():
    stream = journeys().add(T0 + 1000 * 1800 * SPAN_HALF_LIVES + 3 * HOUR, "ana", "x")
    affinity = fold(stream).affinity
    assert (len(affinity.links), len(affinity.sources)) == (0, 0)


def test_reading_changes_nothing():
    pipeline = fold(pushes(), SCREENED)
    before = pipeline.digest()
    for item in ("item-0", "never seen"):
        pipeline.affinity.neighbours(pipeline.encoder.key(item), pipeline.stream_ms)
    published_links(pipeline.affinity, pipeline.trend, pipeline.stream_ms, 1.0)
    pipeline.affinity.recent(pipeline.encoder.key("nobody"))
    assert pipeline.digest() == before


def test_a_stranger_has_no_history_and_a_new_item_no_neighbours():
    affinity = Pipeline(SMALL).affinity
    assert (len(affinity.recent(1)), len(affinity.neighbours(1, T0).keys)) == (0, 0)


def test_what_is_read_cannot_change_the_state():
    pipeline = fold(journeys(), EVERYTHING)
    before = pipeline.digest()
    pipeline.affinity.recent(pipeline.encoder.key("reader-1"))[:] = 0
    pipeline.affinity.neighbours(pipeline.encoder.key("item-1"), pipeline.stream_ms).counts[:] = 0
    for table in ("histories", "links", "sources"):
        with pytest.raises(ValueError, match="read-only"):
            pipeline.affinity.state()[table]["keys"][:] = 0
    assert pipeline.digest() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"reach": ()},
        {"reach": (1.5,)},
        {"reach": (1.0,) * HISTORY},
        {"half_life_s": 0},
        {"window_s": 0},
        {"min_actors": 0},
        {"min_weight": 0.0},
        {"min_weight": float("nan")},
    ],
)
def test_an_affinity_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"reach|positive"):
        AffinityConfig(**wrong)


def test_links_fade_as_fast_as_budgets_whatever_is_asked_for():
    slow = Pipeline(replace(SMALL, affinity=AffinityConfig(half_life_s=7200)))
    longest = Pipeline(replace(SMALL, affinity=AffinityConfig(half_life_s=max(SMALL.half_lives_s))))
    assert slow.affinity.unit(T0) == longest.affinity.unit(T0)
