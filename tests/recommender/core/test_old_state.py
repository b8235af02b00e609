"""Test that states written by commit b6685f3 can be read and learned on from.

Every later digest is the same to the last bit. The bytes, the operations and the digests are recorded
(tests/fixtures/state_b6685f3). None of them is made here.
"""

import pytest

from recommender.core.checkpoint import MAGIC, CheckpointCorrupt, digest
from recommender.core.pipeline import Config, Pipeline
from recommender.core.ranking.bypass import BLEND
from tests.fixtures import state_b6685f3 as old

RUNS = old.runs()
STATES = [(run, state) for run in RUNS for state in run.states]
of_every_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
of_every_state = pytest.mark.parametrize(("run", "state"), STATES, ids=[state.name for _, state in STATES])


def folded(pipeline, run, after):
    """Return the digests after each operation that follows the first `after` ones."""
    found = []
    for operation in old.operations()[after:]:
        operation.apply(pipeline)
        found.append(pipeline.digest())
    return found


@of_every_state
def test_the_bytes_are_those_that_were_noted(run, state):
    assert digest(state.data()) == state.digest
    assert state.after == 0 or run.digests[state.after - 1] == state.digest


@of_every_state
def test_an_old_state_is_read_and_written_again_the_same(run, state):
    pipeline = Pipeline.from_bytes(state.data())
    assert (pipeline.stream_ms, pipeline.n_events) == (state.stream_ms, state.n_events)
    assert pipeline.config == Config.from_state(run.config)
    assert pipeline.to_bytes() == state.data()


@of_every_state
def test_an_old_state_learns_on_to_every_later_digest(run, state):
    pipeline = Pipeline.from_bytes(state.data())
    assert folded(pipeline, run, state.after) == list(run.digests[state.after :])


@of_every_run
def test_an_empty_pipeline_of_the_old_configuration_learns_to_every_digest(run):
    assert folded(Pipeline(Config.from_state(run.config)), run, 0) == list(run.digests)


@of_every_run
def test_what_was_recorded_has_something_of_everything_in_it(run):
    """Otherwise the digests would prove little."""
    held = max((Pipeline.from_bytes(state.data()) for state in run.states), key=lambda each: len(each.holding))
    assert len(held.holding) > 20
    last = Pipeline.from_bytes(run.states[-1].data()).state()
    assert (last["screen"]["forests"]["n_fits"] > 0) == (run.name == "small")
    assert len(last["screen"]["features"]["bursts"]["keys"]) > 3
    assert last["ranker"]["contest"]["mode"] != BLEND  # past its beginning
    assert {ruling for each in old.operations() for ruling, _ in each.decided} == set(old.Ruling)
    assert any(each.forgotten for each in old.operations())
    assert len(last["affinity"]["links"]["keys"]) > 100


@of_every_run
def test_who_was_forgotten_is_in_the_last_state_no_more(run):
    from recommender.core import actor_traces

    (forgotten,) = [each.forgotten for each in old.operations() if each.forgotten]
    before, last = (Pipeline.from_bytes(run.states[place].data()) for place in (-2, -1))
    key = last.encoder.key(forgotten)
    assert actor_traces.count(before.state(), key) > 0 == actor_traces.count(last.state(), key)


@pytest.mark.parametrize("place", [0, len(MAGIC) + 2, 100, 0.5, -40, -1])
def test_a_flipped_byte_is_refused(place):
    data = bytearray(RUNS[0].states[-1].data())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    with pytest.raises(CheckpointCorrupt):
        Pipeline.from_bytes(bytes(data))


@of_every_run
def test_a_state_cut_short_is_refused(run):
    with pytest.raises(CheckpointCorrupt):
        Pipeline.from_bytes(run.states[-1].data()[:-1])
