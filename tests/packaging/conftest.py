"""The wheel of this checkout, and programs in an empty folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

BASE_DIR = Path(__file__).resolve().parents[2]
# Anything that would lead a program to this session's servers, or to a home of its own.
OURS = {"DATABASE_URL", "BROKER_URL", "VIEW_URL", "SECRET_KEY", "GROUNDSWELL_HOME", "DJANGO_SETTINGS_MODULE"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Return the file, built once by the installed hatchling from the tracked files."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=BASE_DIR, text=True).split("\0")
    for name in filter(None, tracked):
        if (BASE_DIR / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((BASE_DIR / name).read_bytes())
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [found] = out.glob("*.whl")
    return found


@pytest.fixture
def empty():
    """Yield an empty folder that everyone can walk through, as root's servers must."""
    folder = Path(tempfile.mkdtemp(prefix="gs-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(empty):
    """Run a program without this session's servers; return its code and its words."""

    def run(*command, code=BASE_DIR, cwd=empty, timeout=120, **env):
        clean = {name: value for name, value in os.environ.items() if name not in OURS}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=clean | {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"} | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def without(tmp_path):
    """Return a folder for PYTHONPATH in which these modules cannot be imported."""

    def block(*modules):
        folder = tmp_path / "blocked"
        folder.mkdir(exist_ok=True)
        lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in modules)]
        (folder / "sitecustomize.py").write_text("\n".join(lines))
        return folder

    return block
