"""Test the contract of everything that learns.

Reads are pure, one history has one digest, and bad input does no damage.
"""

import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.checkpoint import CheckpointCorrupt, dump
from recommender.core.checkpoint_reader import load
from recommender.core.pipeline import KIND_WEIGHTS, Config, Pipeline
from recommender.core.tables import table
from recommender.core.trend import count_breakdowns
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, SCREENED, SMALL, T0, Stream, fold, pushes, readers


def test_a_new_pipeline_answers():
    pipeline = Pipeline(Config())
    assert pipeline.board(10).items == []
    assert pipeline.evaluation.total("trending").hit_rate == 0


@pytest.mark.parametrize("config", [SMALL, SCREENED])
def test_reading_changes_nothing(config):
    pipeline = fold(pushes(), config)
    before = pipeline.digest()
    pipeline.board(100)
    pipeline.trend.leaders()
    count_breakdowns.region_counts(pipeline.trend, 1)
    pipeline.evaluation.recent("daily", 3)
    pipeline.screen.features.items_of(np.array([1, 2], np.uint64))
    pipeline.screen.features.return_rates()
    pipeline.encode(received_ms=[T0], actors=["nobody"], items=["nothing"])
    assert pipeline.digest() == before


def test_the_same_history_has_the_same_digest():
    assert fold(readers()).digest() == fold(readers()).digest() != fold(readers(seed=2)).digest()


@settings(max_examples=20)
@given(st.integers(1, 19))
def test_a_checkpoint_continues_as_if_nothing_had_happened(cut):
    stream = readers()
    pipeline = fold(Stream(stream.rows[: cut * 100]))
    restored = Pipeline.from_bytes(pipeline.to_bytes())
    for start in range(cut * 100, 2000, 100):
        for each in (pipeline, restored):
            each.step(stream.batch(each, start, start + 100))
    assert restored.digest() == pipeline.digest() == fold(stream).digest()


@settings(max_examples=8)
@given(st.integers(1, 30))
def test_a_checkpoint_continues_in_the_midst_of_holds_forests_and_cohorts(cut):
    stream = pushes()
    pipeline = fold(Stream(stream.rows[: cut * 100]), SCREENED)
    restored = Pipeline.from_bytes(pipeline.to_bytes())
    for start in range(cut * 100, len(stream.rows), 100):
        steps = [each.step(stream.batch(each, start, start + 100)) for each in (pipeline, restored)]
        np.testing.assert_array_equal(steps[0].verdicts.verdict, steps[1].verdicts.verdict)
        np.testing.assert_array_equal(steps[0].revised.ordinal, steps[1].revised.ordinal)
    assert pipeline.screen.forests.n_fits > 1
    assert restored.digest() == pipeline.digest() == fold(stream, SCREENED).digest()


def test_an_empty_step_changes_nothing():
    pipeline = fold(readers())
    before = pipeline.digest()
    assert pipeline.step(pipeline.encode(received_ms=[], actors=[], items=[])).n_events == 0
    assert pipeline.digest() == before


@pytest.mark.parametrize("column", [{"kind": [0]}, {"kind": [10]}, {"received_ms": [-1]}])
def test_a_batch_no_log_can_hold_is_refused_and_learned_in_no_part(column):
    pipeline = fold(readers())
    before = pipeline.digest()
    batch = pipeline.encode(**({"received_ms": [T0], "actors": ["mal"], "items": ["x"]} | column))
    with pytest.raises(ValueError, match="unknown kind of act or a time before 1970"):
        pipeline.step(batch)
    assert pipeline.digest() == before


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="the same length"):
        Pipeline(SMALL).encode(received_ms=[T0, T0], actors=["a"], items=["x", "y"])


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "x" * 2**20, "näme", "🦀", "a\nb"])
def test_any_text_can_be_an_id(name):
    pipeline = fold(Stream().add(T0, name, name))
    assert Pipeline.from_bytes(pipeline.to_bytes()).board(1).items == [name]


@pytest.mark.parametrize("config", [SMALL, SCREENED])
def test_inputs_are_not_kept_by_reference(config):
    pipeline = Pipeline(config)
    batch = pushes().batch(pipeline)
    pipeline.step(batch)
    before = pipeline.digest()
    for column in (batch.received_ms, batch.occurred_ms, batch.actor, batch.item, batch.kind, batch.country):
        column[:] = 1
    assert pipeline.digest() == before


def test_a_state_is_a_copy():
    pipeline = fold(pushes(), SCREENED)
    state, before = pipeline.state(), pipeline.digest()
    assert len(state["screen"]["features"]["ring"])
    state["screen"]["features"]["actors"]["c"][:] = 0
    state["screen"]["features"]["ring"][:] = 0
    state["screen"]["features"]["site"][:] = 0
    state["screen"]["forests"]["reservoir"]["rows"][:] = 0
    state["screen"]["forests"]["recent"]["item"]["length"][:] = 0
    state["trend"]["items"]["counts"][:] = 0
    state["evaluation"]["places"][:] = 0
    assert pipeline.digest() == before


def test_stream_time_never_runs_back():
    pipeline = fold(Stream().add(T0 + HOUR, "ana", "x"))
    pipeline.step(Stream().add(T0, "ben", "y").batch(pipeline))
    assert pipeline.stream_ms == T0 + HOUR


def test_ids_are_hashed_with_the_secret():
    plain, keyed = Pipeline(SMALL), Pipeline(replace(SMALL, secret="ab" * 16))
    assert plain.encoder.key("ana") != keyed.encoder.key("ana")


def test_no_name_of_an_actor_is_kept():
    assert b"reader-" not in fold(readers()).to_bytes()


@given(st.integers(0, 10**6))
def test_a_flipped_byte_is_refused(place):
    data = bytearray(fold_once().to_bytes())
    data[place % len(data)] ^= 1
    with pytest.raises(CheckpointCorrupt):
        Pipeline.from_bytes(bytes(data))


@pytest.mark.parametrize("data", [b"", b"GSWCKP02", b"GSWCKP01" + b"x" * 100, b"x" * 100])
def test_what_is_no_checkpoint_is_refused(data):
    with pytest.raises(CheckpointCorrupt):
        load(data)


def test_a_checkpoint_cut_short_is_refused():
    with pytest.raises(CheckpointCorrupt, match="damaged"):
        load(fold_once().to_bytes()[:-1])


def test_a_checkpoint_of_another_configuration_is_refused():
    state = fold_once().state()
    state["config"]["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        Pipeline.from_state(load(dump(state)))


def test_a_state_whose_tables_do_not_fit_is_refused():
    state = fold_once().state()
    state["trend"]["items"]["counts"] = state["trend"]["items"]["counts"][:, :1]
    with pytest.raises(ValueError, match="shape"):
        Pipeline.from_state(state)


def test_texts_and_arrays_come_back_as_they_were():
    state = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "t": ["", "ä", "x"], "n": {"s": 1, "f": 0.5}, "e": []}
    back = load(dump(state))
    np.testing.assert_array_equal(back["a"], state["a"])
    assert (back["t"], back["n"], back["e"]) == (state["t"], state["n"], [])


@pytest.mark.parametrize("weights", [{"click": 1.0}, KIND_WEIGHTS | {"click": 1.5}, KIND_WEIGHTS | {"bribe": 1.0}])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        Pipeline(replace(SMALL, kind_weights=weights))


def test_memory_stays_bounded_for_ten_times_the_actors():
    bounds = {"max_screened_actors": 500, "max_screened_pairs": 1000, "max_links": 500, "max_recent": 500}
    affinity = AffinityConfig(max_histories=500, max_links=1000, max_sources=100)
    config = replace(SCREENED, max_items=100, max_pairs=1000, max_actors=500, affinity=affinity, **bounds)
    sizes = []
    for n_actors in (1000, 10_000):
        stream = Stream()
        for number in range(n_actors):
            stream.add(T0 + number, f"actor-{number}", f"item-{number % 300}", Kind.CLICK)
        sizes.append(len(fold(stream, config).to_bytes()))
    assert sizes[1] < 1.2 * sizes[0]


def fold_once() -> Pipeline:
    return fold(Stream().add(T0, "ana", "x").add(T0 + 5, "ben", "y"))


def test_what_is_not_asked_about_is_learned_and_counts_in_no_quality():
    asked, other = fold(readers()), fold(readers())
    late = Stream().add(T0 + 3 * HOUR, "ana", "item-1").add(T0 + 3 * HOUR, "ben", "item-2")
    every, part = asked.step(late.batch(asked)), other.step(late.batch(other), unasked=np.array([True, False]))
    assert (every.quality.n, part.quality.n) == (2, 1)
    assert part.ranks[0].tolist() == [0, 0, 0, 0]
    assert part.ranks[1].tolist() == every.ranks[1].tolist()
    assert dump(other.trend.state()) == dump(asked.trend.state())


def test_a_step_says_where_the_lists_showed_what_was_released_too():
    pipeline, n_released, n_ranks = Pipeline(SCREENED), 0, 0
    stream = pushes(n_actors=300).add(T0 + 24 * HOUR, "ana", "item-1")
    for start in range(0, len(stream.rows), 100):
        result = pipeline.step(stream.batch(pipeline, start, start + 100))
        n_released += result.n_released + result.n_condemned
        n_ranks += len(result.ranks)
    assert n_released
    assert n_ranks == len(stream.rows) + n_released


def test_arrays_of_tables_that_grow_are_freed_one_by_one(monkeypatch):
    """A view would keep the old array, and double the memory of a table that grows."""
    replaced, n_kept, n_rows = [], [], []
    grown = table._grown

    def watched(column, n, capacity):
        n_kept.append(sum(each() is not None for each in replaced))
        n_rows.append(n)
        replaced.append(weakref.ref(column))
        return grown(column, n, capacity)

    monkeypatch.setattr(table, "_grown", watched)
    fold(readers(), SCREENED)
    assert n_kept == [0] * len(n_kept)
    assert sum(n > 0 for n in n_rows) > 10
