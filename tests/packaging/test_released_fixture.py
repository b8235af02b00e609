"""A release leaves a fixture behind, and a fold that changed since is refused."""

import os
import subprocess
import sys

import pytest

from config import release
from recommender.core import state_versions
from recommender.core.screen.pressure import Pressure
from recommender.core.state_versions import FOLD_VERSION, RELEASES
from tests.help.private_servers import PRIVATE
from tests.help.released.make_released_state import check
from tests.help.released.released_state import ReleasedState
from tests.help.supervised import BASE_DIR

_SERVERS = {"DATABASE_URL", "BROKER_URL", "VIEW_URL", "SECRET_KEY", PRIVATE}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the fixture of this version, on servers of its own."""
    folder = tmp_path_factory.mktemp("fixtures") / "state_0.0.9"
    env = {name: value for name, value in os.environ.items() if name not in _SERVERS}
    command = [sys.executable, "-m", release.MAKER, str(folder)]
    done = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return ReleasedState(folder)


def test_a_fixture_has_states_rows_and_versions(made):
    assert (made.name, made.fold_version) == ("0.0.9", FOLD_VERSION)
    assert made.migrations["recommender"] >= "0016"
    assert len(list(made.rows_of("recommender_checkpoint"))) > 5
    assert len(list(made.rows_of("recommender_event"))) > 3000
    assert sum(1 for each in made.rows_of("recommender_decision") if each["taken_in"] is None) == 1
    (run,) = made.runs()
    assert len(run["states"]) == 4
    assert any(each.get("forgotten") for each in made.operations())
    assert any(each.get("decided") for each in made.operations())


def test_the_same_fold_may_be_released(made):
    assert check([made], "0.0.10") == ""


def test_a_changed_fold_needs_a_new_version(made, monkeypatch):
    monkeypatch.setattr(Pressure, "learn", lambda *_: None)
    assert "The fold changed since 0.0.9" in check([made], "0.0.10")
    monkeypatch.setattr(state_versions, "FOLD_VERSION", FOLD_VERSION + 1)
    assert "Name 0.0.10 there" in check([made], "0.0.10.dev0")
    monkeypatch.setattr(state_versions, "RELEASES", RELEASES | {FOLD_VERSION + 1: "0.0.10"})
    assert check([made], "0.0.10.dev0") == ""


@pytest.fixture
def refusing_checkout(tmp_path):
    """Make a checkout whose maker of fixtures refuses everything."""
    *folders, name = release.MAKER.split(".")
    folder = tmp_path.joinpath(*folders)
    folder.mkdir(parents=True)
    (folder / f"{name}.py").write_text("import sys\nsys.exit('refused: ' + ' '.join(sys.argv[1:]))\n")
    return tmp_path


def test_a_release_ends_where_the_check_refuses(refusing_checkout):
    with pytest.raises(release.NotReady, match=r"refused: --check 1\.0\.0"):
        release.check_fold(refusing_checkout, "1.0.0")


def test_a_fixture_is_stored_once(refusing_checkout):
    with pytest.raises(release.NotReady, match=r"refused: \S+/tests/fixtures/state_1\.0\.1"):
        release.store_fixture(refusing_checkout, "1.0.1")
    (refusing_checkout / "tests" / "fixtures" / "state_1.0.1").mkdir(parents=True)
    assert release.store_fixture(refusing_checkout, "1.0.1") is None
