"""Tests that links lead somewhere, commands exist, and lines to type work."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from recommender.api import metrics
from tests.help.documents import PAGES, ROOT, Block, dead_links, missing_paths, name_of, named_commands, shell_blocks
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.supervised import Running, fresh_home

COMMANDS = {name for name, app in get_commands().items() if app in ("recommender", "monitoring")}
DJANGO = {"migrate", "createsuperuser", "check", "help"}
REFERENCE = ROOT / "docs" / "reference"
# Every block that is not typed here, and why. A new one is added here on purpose, or runs.
NOT_RUN = {
    "the suite cannot run itself",
    "installs packages; the release checks do it in a fresh environment",
    "your keys are random",
    "needs a Docker engine",
    "the addresses of your servers",
    "needs the servers above",
    "needs your servers",
    "needs your database",
    "long-lived processes of a service manager",
    "the number of your checkpoint",
    "the number of your checkpoint and finding",
    "takes minutes",
}
TYPED = [page for page in PAGES if any(block.mark == "run" for block in shell_blocks(page))]
# An item that trends after a page was typed.
LISTED = {"README.md": "story-1", "docs/tutorial/news-site.md": "storm", "docs/reference/api.md": "article-42"}
PRELUDE = (
    'set -euo pipefail\ncurl() { command curl --silent --show-error --fail-with-body --max-time 180 "$@"; echo; }\n'
)

pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pages
def test_every_link_leads_somewhere(page):
    assert dead_links(page) == []


@pages
def test_every_path_named_exists(page):
    assert missing_paths(page) == []


def test_every_document_named_in_code_exists():
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "Makefile"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    named = {
        (path, document)
        for path in listed.stdout.split()
        for document in re.findall(r"docs/[\w/-]+\.md", (ROOT / path).read_text())
    }
    assert len(named) > 10
    assert [pair for pair in named if not (ROOT / pair[1]).exists()] == []


@pages
def test_every_shell_block_runs_or_says_why_not(page):
    unmarked = [block.place for block in shell_blocks(page) if not block.mark]
    assert unmarked == [], "put <!-- run --> or <!-- no-run: reason --> above these blocks"


def test_the_reasons_for_not_running_a_block_are_known():
    reasons = {block.way for page in PAGES for block in shell_blocks(page) if block.mark == "no-run"}
    assert reasons == NOT_RUN


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text() + (ROOT / "docs" / "decisions" / "README.md").read_text()
    assert [name_of(page) for page in PAGES if "docs" in page.parts and f"{page.name})" not in index
            and page.name != "README.md"] == []  # fmt: skip


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_tables_written_by_the_benchmark_are_there():
    for page in ("README.md", "docs/benchmark.md"):
        assert re.search(
            r"<!-- attack table -->\n.+?\| .+?\n<!-- /attack table -->", (ROOT / page).read_text(), re.DOTALL
        )


def test_every_command_is_documented_with_its_verbs():
    page = (REFERENCE / "commands.md").read_text()
    assert len(COMMANDS) > 15
    for name in sorted(COMMANDS):
        assert f"`{name}" in page, name
        for verb in _verbs(name):
            assert f"`{name} {verb}" in page, f"{name} {verb}"


def test_every_make_verb_is_documented():
    page = (REFERENCE / "commands.md").read_text()
    for verb in re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"`make {verb}`" in page, verb
    for page in PAGES:
        for verb in re.findall(r"`?make ([a-z-]+)`", page.read_text()):
            assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (
                f"{name_of(page)}: make {verb}"
            )


def test_no_document_names_a_command_that_does_not_exist():
    unknown = {name: where for name, where in named_commands().items() if name not in COMMANDS | DJANGO | {"run"}}
    assert unknown == {}


@pytest.mark.django_db
def test_every_metric_is_documented():
    page = (REFERENCE / "metrics.md").read_text()
    told = set(re.findall(r"^\| `(groundswell_\w+)`", page, re.MULTILINE))
    sent = set(re.findall(r"^# TYPE (groundswell_\w+)", metrics.render().decode(), re.MULTILINE))
    of_a_view = {"groundswell_view_age_seconds", "groundswell_view_version", "groundswell_frozen_scopes"}
    assert len(sent) > 10
    assert told - of_a_view == sent - of_a_view


# -- typed by a reader -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running():
    with fresh_home() as home, Running(home) as running:
        yield running


@pytest.mark.parametrize("page", TYPED, ids=name_of)
def test_what_a_page_says_to_type_works(page, running, tmp_path):
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        site_port = trial.getsockname()[1]
    started = []

    def localised(text: str) -> str:
        return text.replace("http://127.0.0.1:8000", running.url).replace("8080", str(site_port))

    env = os.environ | {scope.upper(): key for scope, key in running.keys.items()} | {"PYTHONPATH": str(ROOT)}
    try:
        for block in shell_blocks(page):
            if block.mark == "run" and not block.way.startswith("make run"):
                _type(block, localised(block.text), tmp_path, env, started)
            if block.mark == "run" and block.way == "background":
                wait_for(lambda: _answers(f"http://127.0.0.1:{site_port}/"))
        if leads_to := LISTED.get(name_of(page)):
            wait_for(lambda: leads_to in _trending(running))
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def test_make_run_starts_from_a_clone(tmp_path):
    """Stop it when the web server answers. The clone shares this environment."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / ".venv").symlink_to(Path(sys.prefix))
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    with fresh_home() as home:
        env = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        env |= {"PORT": str(port), "DEMO": "0", "GROUNDSWELL_HOME": str(home.path)}
        process = subprocess.Popen(
            ["make", "run"], cwd=clone, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            wait_for(
                lambda: process.poll() is not None or _answers(f"http://127.0.0.1:{port}/health/live"), within_s=300
            )
            assert process.poll() is None, process.communicate()[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)
    shutil.rmtree(clone)


def _verbs(command: str) -> list[str]:
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
    return (
        [verb for action in parser._subparsers._group_actions for verb in action.choices]
        if parser._subparsers
        else []
    )


def _type(block: Block, text: str, folder: Path, env: dict[str, str], started: list[subprocess.Popen[bytes]]) -> None:
    if block.way.startswith("file "):
        (folder / block.way.removeprefix("file ")).write_text(text)
    elif block.way == "background":
        started.append(subprocess.Popen(shlex.split(text), cwd=folder, env=env, stderr=subprocess.DEVNULL))
    else:
        interpreter = [sys.executable, "-c", text] if block.way == "python" else ["bash", "-c", PRELUDE + text]
        done = subprocess.run(
            interpreter, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, f"{block.place}\n{text}\n{done.stdout}\n{done.stderr}"


def _trending(running: Running) -> list[str]:
    headers = {"Authorization": f"Bearer {running.keys['read']}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{running.url}/api/v1/trending?limit=50", headers=headers), timeout=PATIENCE_S
    ) as answer:
        return [place["item"] for place in json.load(answer)["items"]]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
