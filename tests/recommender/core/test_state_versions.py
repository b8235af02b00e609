"""A state is read by every later version, and refused by an earlier one."""

from dataclasses import asdict, replace
from math import inf

import numpy as np
import pytest

from recommender.core import checkpoint_reader, state_versions
from recommender.core.config import Config, small_config
from recommender.core.fold import pipeline_state
from recommender.core.pipeline import Pipeline
from recommender.core.state_versions import BEFORE, FOLD_VERSION, PARTS, STATE, VERSIONS, StateNewer, StateUnfit
from tests.fixtures import state_b6685f3 as old
from tests.help.released.changed_config import OF_CONFIG, config_classes, with_a_field


@pytest.fixture
def learned():
    pipeline = Pipeline(small_config())
    names = [f"reader-{number}" for number in range(40)]
    pipeline.step(pipeline.encode(received_ms=[1000 + n for n in range(40)], actors=names, items=["story"] * 40))
    return pipeline


@pytest.fixture
def a_later_version(monkeypatch):
    """Let this code be the next version, without a migration of its own so far."""
    monkeypatch.setattr(state_versions, "FOLD_VERSION", FOLD_VERSION + 1)
    monkeypatch.setattr(state_versions, "RELEASES", state_versions.RELEASES | {FOLD_VERSION + 1: "9.9.0"})
    monkeypatch.setattr(state_versions, "_migrations", [*state_versions._migrations])


def test_a_state_carries_the_version_of_the_fold_and_of_every_part(learned):
    versions = checkpoint_reader.load(learned.to_bytes())[VERSIONS]
    assert (versions["fold"], versions["release"]) == (FOLD_VERSION, state_versions.RELEASES[FOLD_VERSION])
    assert versions["parts"].keys() == set(PARTS)
    assert max(versions["parts"].values()) <= FOLD_VERSION


def test_every_part_of_a_state_has_a_name(learned):
    state = learned.state()
    parts = {name for name, value in state.items() if isinstance(value, dict)} - {VERSIONS}
    inner = {f"config/{name}" for name, value in state["config"].items() if isinstance(value, dict)}
    assert parts | (inner - {"config/kind_weights"}) <= set(PARTS)


@pytest.mark.parametrize("where", config_classes())
def test_a_field_added_to_any_configuration_makes_no_state_unreadable(where, learned, monkeypatch):
    states = [state.data() for run in old.runs() for state in run.states]
    before = [Pipeline.from_bytes(data) for data in (*states, learned.to_bytes())]
    monkeypatch.setattr(pipeline_state, "Config", with_a_field(where))
    for then, data in zip(before, (*states, learned.to_bytes()), strict=True):
        pipeline = Pipeline.from_bytes(data)
        changed = pipeline.config if where == OF_CONFIG else getattr(pipeline.config, where)
        assert changed.added == 0.5
        for one in (then, pipeline):
            now_ms = one.stream_ms + 1000
            one.step(one.encode(received_ms=[now_ms] * 3, actors=["ana", "bo", "cy"], items=["a", "b", "a"]))
        assert pipeline.board(20).items == then.board(20).items
        assert pipeline.trend.counts().tolist() == then.trend.counts().tolist()


@pytest.mark.parametrize("where", config_classes())
def test_a_new_field_may_name_the_value_from_before_it_existed(where, learned, monkeypatch):
    data = learned.to_bytes()
    monkeypatch.setattr(pipeline_state, "Config", with_a_field(where, **{BEFORE: inf}))
    config = Pipeline.from_bytes(data).config
    assert (config if where == OF_CONFIG else getattr(config, where)).added == inf


def test_a_whole_configuration_may_be_new():
    state = asdict(small_config())
    del state["contest"]
    assert Config.from_state(state) == small_config()


@pytest.mark.parametrize("where", config_classes())
def test_a_field_that_this_version_lacks_is_of_a_newer_one(where):
    state = asdict(small_config())
    (state if where == OF_CONFIG else state[where])["surprise"] = 1
    with pytest.raises(StateNewer, match=r"does not know: surprise\. A newer version wrote it: upgrade this node"):
        Config.from_state(state)


def test_a_kind_of_act_may_be_new_but_not_unknown():
    state = asdict(small_config())
    del state["kind_weights"]["cart"]
    assert Config.from_state(state) == small_config()
    state["kind_weights"]["teleport"] = 1.0
    with pytest.raises(StateNewer, match="teleport"):
        Config.from_state(state)


def test_a_state_of_a_newer_version_is_refused_with_both_versions(learned):
    state = learned.state()
    state[VERSIONS] |= {"fold": FOLD_VERSION + 1, "release": "0.3.0"}
    with pytest.raises(StateNewer) as refused:
        Pipeline.from_state(state)
    assert str(refused.value) == (
        f"the state was written by 0.3.0 (fold version {FOLD_VERSION + 1}); this is"
        f" {state_versions.RELEASES[FOLD_VERSION]} (fold version {FOLD_VERSION}): upgrade this node"
    )


@pytest.mark.parametrize("part", ["trend", "portents"])
def test_a_part_that_is_newer_or_unknown_is_refused(part, learned):
    state = learned.state()
    state[VERSIONS]["parts"] = state[VERSIONS]["parts"] | {part: FOLD_VERSION + 1}
    with pytest.raises(StateNewer, match=f"part {part} has version {FOLD_VERSION + 1}"):
        Pipeline.from_state(state)


@pytest.mark.usefixtures("a_later_version")
def test_a_part_passes_the_migrations_it_has_not_passed_yet(learned):
    data = learned.to_bytes()
    to = FOLD_VERSION + 1

    @state_versions.migration("pressure", to=to)
    def _moved(pressure):
        return {"counts": pressure["counts"] + 7, "ticks": pressure["ticks"]}

    @state_versions.migration(STATE, to=to)
    def _renamed(state):
        return {**state, "n_events": state["n_events"] + 1}

    migrated = Pipeline.from_bytes(data)
    assert migrated.n_events == learned.n_events + 1
    assert (migrated.state()["pressure"]["counts"] == learned.state()["pressure"]["counts"] + 7).all()
    assert migrated.state()[VERSIONS]["parts"]["pressure"] == to
    again = Pipeline.from_bytes(migrated.to_bytes())
    assert again.digest() == migrated.digest()


@pytest.mark.usefixtures("a_later_version")
def test_migrations_run_by_version_and_leave_the_old_state_as_it_was(monkeypatch):
    monkeypatch.setattr(state_versions, "_migrations", [])
    state = {"config": {}, "trend": {"names": np.arange(3)}}
    done = []

    def noted(name, value=None):
        def run(old):
            done.append((name, old))
            return value if value is not None else old

        return run

    state_versions.migration("trend", to=3)(noted("third", {"names": np.arange(2)}))
    state_versions.migration("trend", to=2)(noted("second"))
    state_versions.migration("screen/features", to=3)(noted("new part", {"ring": 1}))
    found = state_versions.migrate(state)
    assert [name for name, _ in done] == ["second", "third", "new part"]
    assert done[-1] == ("new part", None)
    assert (found["screen"], len(found["trend"]["names"])) == ({"features": {"ring": 1}}, 2)
    assert (state.keys(), len(state["trend"]["names"])) == ({"config", "trend"}, 3)


def test_a_migration_of_no_part_or_to_no_version_is_refused():
    with pytest.raises(ValueError, match="'fortune' is no part"):
        state_versions.migration("fortune", to=2)
    with pytest.raises(ValueError, match=f"FOLD_VERSION is {FOLD_VERSION}: raise it"):
        state_versions.migration("trend", to=FOLD_VERSION + 1)


@pytest.mark.usefixtures("a_later_version")
def test_a_migration_that_fails_names_its_part(learned):
    data = learned.to_bytes()

    @state_versions.migration("drift", to=FOLD_VERSION + 1)
    def _of_something_else(drift):
        return drift["not there"]

    with pytest.raises(StateUnfit, match=f"drift cannot be migrated to version {FOLD_VERSION + 1}.*not there"):
        Pipeline.from_bytes(data)


@pytest.mark.parametrize("name", ["trend", "pressure", "stream_ms"])
def test_a_state_without_a_part_is_refused_with_its_name(name, learned):
    state = learned.state()
    del state[name]
    with pytest.raises(StateUnfit, match=name):
        Pipeline.from_state(state)


def test_a_state_written_again_carries_the_present_versions(monkeypatch):
    state = old.runs()[0].states[-1]
    assert state_versions.fold_version_of(checkpoint_reader.load(state.data())) == 1
    again = checkpoint_reader.load(Pipeline.from_bytes(state.data()).to_bytes())
    assert state_versions.fold_version_of(again) == FOLD_VERSION


def test_the_configuration_of_a_state_is_kept_exactly():
    config = replace(small_config(secret="00" * 16), half_lives_s=(60, 600), canary_share=0.25)
    assert Config.from_state(checkpoint_reader.load(Pipeline(config).to_bytes())["config"]) == config
