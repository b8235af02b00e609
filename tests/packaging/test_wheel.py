"""The wheel has every file of the packages, and runs from a read-only folder."""

import os
import re
import stat
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import config
from config import release
from config.home import ServiceAccount
from tests.packaging.conftest import BASE_DIR

CHOOSE = "import os; from pathlib import Path; from config import places; places.choose_numba_cache(Path('home'))"
GROUNDSWELL = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'groundswell'; import config.command_line as c; c.main()",
)


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the unpacked wheel, in which nothing can be written, except by root."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    everything = [folder, *folder.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_every_file_of_the_packages_is_in_the_wheel_and_no_other(names):
    assert names == release.packaged_files(BASE_DIR)
    for part in ("monitoring/templates/console/base.html", "monitoring/static/console/theme.css"):
        assert part in names
    assert sum("/migrations/0" in name for name in names) > 10
    assert not [name for name in names if name.startswith(("tests", "docs", ".venv"))]


def test_the_metadata_names_the_version_the_licence_and_the_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        text = archive.read(metadata).decode().split("\n\n", 1)[0]
        assert metadata.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    fields = re.findall(r"^([\w-]+): (.*)$", text, re.MULTILINE)
    assert ("Version", config.__version__) in fields
    assert ("License-Expression", "Apache-2.0") in fields
    assert {value for name, value in fields if name == "Provides-Extra"} == {
        *("learn", "firstrun", "pictures", "batch", "s3", "dev")
    }
    assert not [field for field in fields if "url" in field[0].lower()]


def test_the_version_is_written_in_one_place():
    command = ["git", "grep", "-lF", config.__version__, "--", "."]
    said = subprocess.check_output(command, cwd=BASE_DIR, text=True).split()
    assert sorted(said) == ["CHANGELOG.md", "config/__init__.py"]


def test_the_console_script_leads_to_the_command_line(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        found = re.findall(r"^(\w+) = (\S+)$", archive.read(name).decode(), re.MULTILINE)
    assert [name for name, _ in found] == ["groundswell"]
    assert EntryPoint("groundswell", found[0][1], "console_scripts").load() is config.command_line.main


def test_an_installed_wheel_names_the_pip_command_of_a_missing_extra(installed, start, without):
    code, said = start(*GROUNDSWELL, "compare", code=f"{without('river', 'matplotlib')}:{installed}")
    assert code != 0
    assert said.strip() == (
        "groundswell compare needs river and matplotlib: pip install 'groundswell[learn,pictures]'"
    )


def test_an_installed_wheel_keeps_its_data_in_the_current_folder(installed, start, empty):
    code, said = start(*GROUNDSWELL, "check", code=installed)
    assert (code, said) == (0, "System check identified no issues (0 silenced).\n")
    [home] = empty.iterdir()
    assert home.name == ".groundswell"
    assert stat.S_IMODE(home.stat().st_mode) & 0o066 == 0


@pytest.mark.parametrize("words", [["--version"], ["help"]])
def test_version_and_help_write_nothing(words, installed, start, empty):
    code, said = start(*GROUNDSWELL, *words, code=installed)
    assert code == 0
    assert config.__version__ in said
    assert list(empty.iterdir()) == []


def test_a_folder_called_config_does_not_stand_in_for_ours(installed, start, empty, tmp_path):
    (empty / "config").mkdir(parents=True)
    (empty / "config" / "__init__.py").write_text("raise SystemExit('not ours')")
    script = tmp_path / "groundswell"
    script.write_text("from config.command_line import main\nmain()\n")
    code, said = start(sys.executable, script, "check", code=installed)
    assert (code, said) == (0, "System check identified no issues (0 silenced).\n")


def test_compiled_loops_go_to_the_home_where_no_other_folder_is_open(installed, start):
    """Ask as an account that may write nowhere else, since root may."""
    account = ServiceAccount.of_services()
    become = f"import os; os.setgid({account.gid}); os.setuid({account.uid})\n" if account else ""
    # The modules are imported before the account changes. Python itself may be closed to the other account.
    program = f"import os, pathlib, config.places\n{become}{CHOOSE}; print(os.environ.get('NUMBA_CACHE_DIR'))"
    said = start(sys.executable, "-c", program, code=installed, HOME="/nowhere", XDG_CACHE_HOME="")[1]
    assert said == "home/numba\n"
    said = start(sys.executable, "-c", program, code=installed, HOME="/nowhere", NUMBA_CACHE_DIR="/named")[1]
    assert said == "/named\n"


def test_an_open_folder_is_left_to_numba(start):
    said = start(sys.executable, "-c", f"{CHOOSE}; print('NUMBA_CACHE_DIR' in os.environ)", HOME="/nowhere")[1]
    assert said == f"{'NUMBA_CACHE_DIR' in os.environ}\n"


def test_a_checkout_keeps_its_data_in_the_checkout():
    from config import places

    assert places.IS_CHECKOUT
    assert Path(config.__file__).parents[1] == places.WORK_DIR
    assert places.RUN == "make run"
