"""Test that states written by commit b6685f3 can be read and learned on from.

The bytes, the operations and the digests are recorded (tests/fixtures/state_b6685f3). None of them is made here. The
digests are those of fold version 1, so a later version is compared by contents: it meets every recorded state on its
way from every other.
"""

import pytest

from recommender.core.checkpoint import CheckpointCorrupt
from recommender.core.checkpoint_reader import OLD_MAGIC, digest
from recommender.core.pipeline import Config, Pipeline
from recommender.core.ranking.bypass import BLEND
from tests.fixtures import state_b6685f3 as old
from tests.help.released.pipeline_contents import contents

RUNS = old.runs()
STATES = [(run, state) for run in RUNS for state in run.states]
of_every_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
of_every_state = pytest.mark.parametrize(("run", "state"), STATES, ids=[state.name for _, state in STATES])


def met(pipeline, run, after):
    """Apply later operations, and return the contents where a state was recorded."""
    found = {}
    wanted = {state.after for state in run.states}
    for number, operation in enumerate(old.operations()[after:], after + 1):
        operation.apply(pipeline)
        if number in wanted:
            found[number] = contents(pipeline)
    return found


def recorded(run, after):
    """Return the contents of the recorded states after the first `after` operations."""
    later = [state for state in run.states if state.after > after]
    return {state.after: contents(Pipeline.from_bytes(state.data())) for state in later}


@of_every_state
def test_the_bytes_are_those_that_were_noted(run, state):
    assert digest(state.data()) == state.digest
    assert state.after == 0 or run.digests[state.after - 1] == state.digest


@of_every_state
def test_an_old_state_is_read_and_written_again_the_same(run, state):
    pipeline = Pipeline.from_bytes(state.data())
    assert (pipeline.stream_ms, pipeline.n_events) == (state.stream_ms, state.n_events)
    assert pipeline.config == Config.from_state(run.config)
    again = Pipeline.from_bytes(pipeline.to_bytes())
    assert again.digest() == pipeline.digest() == Pipeline.from_bytes(state.data()).digest()
    assert contents(again) == contents(pipeline)


@of_every_state
def test_an_old_state_learns_on_to_every_later_one(run, state):
    pipeline = Pipeline.from_bytes(state.data())
    assert met(pipeline, run, state.after) == recorded(run, state.after)


@of_every_run
def test_an_empty_pipeline_of_the_old_configuration_learns_to_every_state(run):
    assert met(Pipeline(Config.from_state(run.config)), run, 0) == recorded(run, 0)


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


@pytest.mark.parametrize("place", [0, len(OLD_MAGIC) + 2, 100, 0.5, -40, -1])
def test_a_flipped_byte_is_refused(place):
    data = bytearray(RUNS[0].states[-1].data())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    with pytest.raises(CheckpointCorrupt):
        Pipeline.from_bytes(bytes(data))


@of_every_run
def test_a_state_cut_short_is_refused(run):
    with pytest.raises(CheckpointCorrupt):
        Pipeline.from_bytes(run.states[-1].data()[:-1])
