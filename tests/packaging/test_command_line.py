"""The list of commands, and sentences in place of tracebacks."""

import sys
from pathlib import Path

import config
from config import command_line
from tests.packaging.conftest import BASE_DIR

MANAGE = (sys.executable, BASE_DIR / "manage.py")


def test_every_command_of_the_product_is_listed_with_a_purpose():
    folders = [BASE_DIR / package / "management" / "commands" for package in ("recommender", "monitoring")]
    ours = {file.stem for folder in folders for file in folder.glob("[a-z]*.py")}
    listed = {name for commands in command_line.GROUPS.values() for name in commands}
    assert listed - ours == {"createsuperuser", "check", "migrate", "collectstatic"}
    assert ours <= listed


def test_lines_of_the_list_fit_a_terminal():
    overview = command_line.overview("groundswell")
    assert max(map(len, overview.splitlines())) <= 90
    assert overview.splitlines()[4].split()[0] == "run"


def test_manage_py_lists_the_same_and_prints_the_version(start):
    assert start(*MANAGE, "help") == (0, command_line.overview("manage.py"))
    assert start(*MANAGE, "--version") == (0, f"groundswell {config.__version__}\n")


def test_run_explains_its_options(start):
    code, said = start(*MANAGE, "help", "run")
    assert code == 0
    assert all(option in said for option in ("--port", "--no-demo", "--speed"))


def test_options_of_run_count_like_its_environment_variables(start):
    named = {"DATABASE_URL": "postgres://x@127.0.0.1:1/x", "SECRET_KEY": "x" * 32}
    code, said = start(*MANAGE, "run", "--port", "http", **named)
    assert code == 1
    assert "PORT=http is not a port" in said
    code, said = start(*MANAGE, "run", "--speed", "0", **named)
    assert code == 1
    assert "SPEED=0 is not a speed" in said


def test_without_a_database_a_command_says_how_to_start_one(start, tmp_path):
    code, said = start(*MANAGE, "keys", "list", GROUNDSWELL_HOME=str(tmp_path / "home"))
    assert code == 1
    assert said.endswith("No database answers. Start `make run` in this folder first, or set DATABASE_URL.\n")
    assert "Traceback" not in said


def test_the_schema_reports_the_version():
    from django.conf import settings

    assert settings.SPECTACULAR_SETTINGS["VERSION"] == config.__version__
    assert Path(settings.STATIC_ROOT) == BASE_DIR / "static"
