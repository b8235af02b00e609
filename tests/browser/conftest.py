"""A real browser in front of all processes of `make run`.

All tests of a file share one Groundswell. Without a browser the tests are skipped, and the end of the report shows
this. For a failing test the page's picture and source are kept, and its report names them.

Playwright ends with the file. Its event loop stays in the thread, and would make Django refuse the database to any
later test.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from config import chromium
from tests.browser import world
from tests.browser.visitor import Visitor
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.supervised import BASE_DIR, Running, fresh_home

# Steps are small, so that the morning is learned as if in real time (tests/help/attacked_site.py).
SETTINGS = {"STEP_EVENTS": "60", "SHADOW": "true", "AUTO_FREEZE": "false", "HTTPS": "false"}
_NAMED = ("DATABASE_URL", "BROKER_URL", "VIEW_URL", "SECRET_KEY")
_seen: pytest.StashKey[Visitor] = pytest.StashKey()
_has_failed: pytest.StashKey[bool] = pytest.StashKey()


@pytest.fixture(scope="module")
def chrome(request):
    """Run the browser's process."""
    path = chromium.find()
    if not path:
        pytest.skip(f"no Chromium to look with. {chromium.ADVICE}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(chromium.FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(chrome):
    """Run everything, with the morning of `world` learned and its findings made."""
    with fresh_home() as home, Running(home, **SETTINGS) as running:
        env = {name: value for name, value in os.environ.items() if name not in _NAMED}
        env |= {"GROUNDSWELL_HOME": str(home.path), "DJANGO_SETTINGS_MODULE": "config.settings"}
        made = [sys.executable, "-m", "tests.browser.world"]
        done = subprocess.run(
            made, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        # a checkout that has never learned compiles first
        wait_for(lambda: _held_items(running) >= set(world.HELD), within_s=400)
        yield running


def _held_items(running) -> set[str]:
    return {item for (item,) in running.execute("SELECT item FROM monitoring_finding WHERE state = 'open'")}


@pytest.fixture(scope="module")
def signed_in(chrome, running):
    """Return a function that signs someone in once, by the form.

    signed_in("rita"): the state of her browser after that.
    """
    states = {}

    def remember(name):
        if name not in states:
            visitor = Visitor(chrome, running.url)
            visitor.sign_in(name, world.PASSWORD)
            visitor.check()
            states[name] = visitor.context.storage_state()
            visitor.context.close()
        return states[name]

    return remember


@pytest.fixture
def visit(chrome, running, signed_in, request):
    """Return a function that opens a new window: visit("rita", width=390).

    Without a name no one is signed in. At the end of the test, nothing may have gone wrong in any window.
    """
    visitors = []

    def open_window(name=None, **more):
        visitor = Visitor(chrome, running.url, storage_state=signed_in(name) if name else None, **more)
        visitors.append(visitor)
        request.node.stash[_seen] = visitor
        return visitor

    yield open_window
    complaints = [line for visitor in visitors for line in visitor.complaints]
    for visitor in visitors:
        visitor.context.close()
    if not request.node.stash.get(_has_failed, False):  # otherwise its failure would be reported twice
        assert not complaints, "\n".join(complaints)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[_has_failed] = report.failed
    if report.failed and call.when == "call" and (visitor := item.stash.get(_seen, None)):
        folder = Path(item.config._tmp_path_factory.getbasetemp()) / "browser"
        try:
            visitor.keep(folder, item.name)
            report.sections.append(("What it saw", f"{folder}/{item.name}.png and .html, of {visitor.page.url}"))
        except Exception as error:  # the failure itself must be reported, no matter what the browser does
            report.sections.append(("What it saw", f"could not be kept: {error}"))
    return report


def pytest_terminal_summary(terminalreporter):
    passed = [each for each in terminalreporter.stats.get("passed", []) if "tests/browser" in each.nodeid]
    for what, seconds in [each for report in passed if report.when == "call" for each in report.user_properties]:
        terminalreporter.line(f"measured: {what}: {seconds:.1f}")
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if "tests/browser" in each.nodeid]
    if skipped:
        terminalreporter.section("The console was not looked at in a browser", yellow=True)
        terminalreporter.line(f"{len(skipped)} tests skipped: {skipped[0].longrepr[-1]}", yellow=True)
