"""Tests of the set-up from a bare checkout.

The lock files name no package, so everything is real except the downloads.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.help.patience import PATIENCE_S

BOOTSTRAP = Path(__file__).resolve().parents[2] / "config" / "bootstrap.py"
UNREACHABLE = "not-to-be-found==1.0 --hash=sha256:" + 64 * "0"
OFFLINE = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "config").mkdir()
    shutil.copy(BOOTSTRAP, tmp_path / "config")
    shutil.copy(BOOTSTRAP.with_name("installer.txt"), tmp_path / "config")
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    (tmp_path / "requirements-dev.txt").write_text("# nothing and the tools\n")
    return tmp_path


def start(checkout, *arguments, **env):
    return subprocess.Popen(
        [sys.executable, str(checkout / "config" / "bootstrap.py"), *arguments],
        env=os.environ | OFFLINE | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def set_up(checkout, *arguments, **env):
    process = start(checkout, *arguments, **env)
    said, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def test_it_makes_an_environment_and_then_has_nothing_to_do(checkout):
    code, said = set_up(checkout)
    assert code == 0, said
    assert "Setting up .venv" in said
    assert subprocess.call([checkout / ".venv" / "bin" / "python", "-c", "pass"]) == 0
    assert set_up(checkout) == (0, "")


def test_the_environment_for_developing_will_do_for_running(checkout):
    assert set_up(checkout, "--dev")[0] == 0
    assert set_up(checkout) == (0, "")
    assert set_up(checkout, "--dev") == (0, "")


def test_the_environment_for_running_is_completed_for_developing(checkout):
    assert set_up(checkout)[0] == 0
    code, said = set_up(checkout, "--dev")
    assert code == 0
    assert "requirements-dev.txt" in said


def test_a_changed_lock_file_is_installed(checkout):
    assert set_up(checkout)[0] == 0
    (checkout / "requirements.txt").write_text("# something else\n")
    assert "Setting up" in set_up(checkout)[1]
    assert set_up(checkout) == (0, "")


def test_an_environment_whose_python_is_gone_is_made_anew(checkout):
    assert set_up(checkout)[0] == 0
    for python in (checkout / ".venv" / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nowhere/python")
    code, said = set_up(checkout)
    assert code == 0
    assert "Making a new .venv" in said
    assert set_up(checkout) == (0, "")


def test_of_two_at_once_one_sets_up_and_the_other_waits(checkout):
    both = [start(checkout), start(checkout)]
    said = [process.communicate(timeout=PATIENCE_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("Setting up .venv" in text for text in said) == 1


def test_without_a_package_index_it_says_so_and_the_next_run_tries_again(checkout):
    (checkout / "requirements.txt").write_text(UNREACHABLE + "\n")
    for _ in range(2):
        code, said = set_up(checkout)
        assert code == 1
        assert "check the network" in said
        assert "Traceback" not in said


def test_without_any_means_to_make_an_environment_it_names_the_debian_package(checkout, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for module in ("venv", "virtualenv", "uv"):
        (broken / f"{module}.py").write_text("raise SystemExit(1)\n")
    code, said = set_up(checkout, PYTHONPATH=str(broken), PATH="/nowhere")
    assert code == 1
    assert "apt-get install python3-venv" in said
    assert not (checkout / ".venv").exists()


def test_an_unsuitable_python_is_named_with_those_that_will_do(monkeypatch):
    spec = importlib.util.spec_from_file_location("bootstrap", BOOTSTRAP)
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    monkeypatch.setattr(bootstrap, "OLDEST", (3, 97))
    monkeypatch.setattr(bootstrap, "NEWEST", (3, 98))
    with pytest.raises(bootstrap.CannotSetUp, match=r"needs Python 3.97 to 3.98"):
        bootstrap.leave_to_a_suitable_python([])
