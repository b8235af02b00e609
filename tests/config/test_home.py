"""Tests of the home of a first run: its place, its secrets and its permissions."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dj_database_url
import pytest

from config.home import CannotStart, Home
from tests.help.supervised import Held, fresh_home


def test_the_home_lies_in_the_project_unless_another_is_named(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    monkeypatch.delenv("GROUNDSWELL_HOME", raising=False)
    monkeypatch.setattr("config.home._can_be_walked_through", lambda path: True)
    assert Home.of_project(tmp_path).path == tmp_path / ".groundswell"
    monkeypatch.setenv("GROUNDSWELL_HOME", "/srv/elsewhere")
    assert Home.of_project(tmp_path).path == Path("/srv/elsewhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its rights")
def test_for_root_in_a_closed_folder_it_lies_where_nobody_can_reach_it(tmp_path, monkeypatch):
    monkeypatch.delenv("GROUNDSWELL_HOME", raising=False)
    tmp_path.chmod(0o700)
    path = Home.of_project(tmp_path).path
    assert path.parent == Path("/var/tmp")
    assert Home.of_project(tmp_path).path == path


def test_naming_a_home_writes_nothing(tmp_path):
    home = Home(tmp_path / "home")
    assert [home.database_url, home.broker_url, home.view_url]
    assert not home.path.exists()


@pytest.mark.parametrize("name", ["a" * 120, "a folder of Ana's", "ordner-mit-ü"])
def test_sockets_get_a_short_and_plain_path_whatever_the_home_is_called(name):
    with fresh_home() as plain:
        home = Home(plain.path.parent / name)
        assert len(str(home.sockets)) < 80
        assert home.sockets.parent == Path("/tmp")
        with Held(home) as held:
            assert held.execute("SELECT 1") == [(1,)]
        home.sockets.rmdir()


def test_the_database_address_keeps_its_capitals(tmp_path):
    url = Home(Path("/tmp/Ana")).database_url
    assert dj_database_url.parse(url)["HOST"] == "/tmp/Ana/run"


def test_a_secret_is_made_once_and_for_its_owner_only(tmp_path):
    home = Home(tmp_path / "home")
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: Home(home.path).secret_key(), range(8)))
    assert len(made) == 1
    assert len(made.pop()) >= 32
    assert stat.S_IMODE((home.path / "secret_key").stat().st_mode) == 0o600
    assert sorted(path.name for path in home.path.iterdir()) == ["log", "metrics", "secret_key"]


def test_a_link_in_place_of_the_home_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match="GROUNDSWELL_HOME"):
        Home(tmp_path / "home").make()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_home_of_another_user_is_refused(tmp_path):
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", 65534, 65534)
    with pytest.raises(CannotStart, match="closed to this user"):
        Home(tmp_path / "home").make()
