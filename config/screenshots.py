"""Pictures of the console for docs/reference/console.md.

    python -m config.screenshots, which is `make screenshots`:
    a Groundswell of its own, with the demo at SPEED ──> an attack is in the queue ──> every page ──> docs/screenshots
    --url URL --account NAME --password WORD          ──> the same of one that runs

A command takes them, so you can take all pictures again after the pages change. File names stay the same. Each
picture is a PNG with few colours. The command only looks at pages. It decides and changes nothing on the server.
"""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright

from config import chromium

BASE_DIR = Path(__file__).resolve().parent.parent
OUT = BASE_DIR / "docs" / "screenshots"
COLOURS = 128
MOST_BYTES = 150_000
TALLEST = 1800
ATTACK_WITHIN_S = 900.0
PATIENCE_MS = 120_000  # per page: the demo may keep the machine busy
SPEED = "8"
CONSOLE = "/admin/console/"
# name -> (path, width). Names in braces are looked up on the queue's first row.
SHOTS = {
    "public": ("/", 1280),
    "overview": (CONSOLE, 1280),
    "queue": (f"{CONSOLE}findings/", 1280),
    "finding": (f"{CONSOLE}findings/{{finding}}/", 1280),
    "item": (f"{CONSOLE}items/{{item}}/", 1280),
    "actor": (f"{CONSOLE}actors/?id={{actor}}", 1280),
    "timeline": (f"{CONSOLE}timeline/", 1280),
    "revert": (f"{CONSOLE}timeline/revert?exclude_finding={{finding}}", 1280),
    "audit": (f"{CONSOLE}audit/", 1280),
    "keys": ("/admin/recommender/apikey/", 1280),
    "queue-phone": (f"{CONSOLE}findings/", 390),
    "finding-phone": (f"{CONSOLE}findings/{{finding}}/", 390),
}


class CannotLook(Exception):
    """Error whose message explains why no pictures can be taken."""


def take(url: str, account: str, password: str, *, out: Path) -> Iterator[str]:
    """Sign in, wait for an attack in the queue, and take a picture of every page.

    Yields a line of text for each picture.
    """
    path = chromium.find()
    if not path:
        raise CannotLook(f"There is no Chromium to take them with. {chromium.ADVICE}")
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(chromium.FLAGS))
        try:
            page = _window(browser, url, 1280)
            _sign_in(page, account, password)
            known = _look_up(page)
            state = page.context.storage_state()
            for name, (template, width) in SHOTS.items():
                wanted = re.findall(r"\{(\w+)\}", template)
                if any(each not in known for each in wanted):
                    yield f"{name}: left out, because the finding has no link for {' and '.join(wanted)}"
                    continue
                page = _window(browser, url, width, storage_state=state)
                page.goto(template.format(**known))
                page.evaluate("document.fonts.ready.then(() => true)")
                n_bytes = _write(page, out / f"{name}.png", width)
                page.context.close()
                yield f"{name}: {n_bytes // 1024} KiB"
        except Error as error:
            raise CannotLook(f"The browser failed: {error.message}") from None
        finally:
            browser.close()


def _window(browser: Browser, url: str, width: int, **more: Any) -> Page:
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": 900},
        color_scheme="light",
        locale="en-GB",
        timezone_id="UTC",
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


def _sign_in(page: Page, account: str, password: str) -> None:
    page.goto(f"/admin/login/?next={CONSOLE}")
    page.get_by_label("Username").fill(account)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    try:
        page.wait_for_url(f"**{CONSOLE}")
    except Error:
        raise CannotLook(f"{account} could not sign in. Check --account and --password.") from None


def _look_up(page: Page) -> dict[str, str]:
    """Return the ids of the queue's first serious finding, its item and an actor."""
    deadline = time.monotonic() + ATTACK_WITHIN_S
    severe = page.get_by_role("listitem").filter(has_text=re.compile(r"▲\s*high"))
    while True:
        page.goto(f"{CONSOLE}findings/")
        if severe.count():
            break
        if time.monotonic() > deadline:
            raise CannotLook(f"No attack reached the queue within {ATTACK_WITHIN_S:.0f} s. Is the demo running?")
        page.wait_for_timeout(3000)
    severe.first.get_by_role("link", name=re.compile("account")).first.click()
    page.wait_for_url("**/findings/*/")
    known = {}
    for name, place in (("finding", "findings/"), ("item", "items/"), ("actor", r"actors/\?id=")):
        links = (
            [page.url] if name == "finding" else page.eval_on_selector_all("main a", "all => all.map(a => a.href)")
        )
        found = next((each for link in links if (each := re.search(rf"/{place}([^/&?]+)/?$", link))), None)
        if found:
            known[name] = found[1]
    return known


def _write(page: Page, path: Path, width: int) -> int:
    """Write a picture of the page's top and return its size.

    It has as many colours as fit.
    """
    height = min(TALLEST, max(900, page.evaluate("document.documentElement.scrollHeight")))
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(500)  # charts are drawn again for the new size
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (COLOURS, 64, 32, 16):
        shot.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            break
    return path.stat().st_size


@contextlib.contextmanager
def own_server() -> Iterator[tuple[str, str, str]]:
    """Run everything that `make run` starts, on a home that is deleted afterwards.

    Yields its URL and the operator's name and password.
    """
    with tempfile.TemporaryDirectory(prefix="gs-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - the servers' account walks through it
        home = Path(folder) / "home"
        env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "BROKER_URL")}
        env |= {"GROUNDSWELL_HOME": str(home), "DEMO": "1", "SPEED": env.get("SPEED", SPEED)}
        command = [sys.executable, "-m", "config.supervisor", "run"]
        process = subprocess.Popen(  # noqa: S603
            command, cwd=BASE_DIR, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            url = _address(process)
            credentials = json.loads((home / "credentials.json").read_text())
            yield url, credentials["operator"], credentials["password"]
        finally:
            process.terminate()
            process.communicate(timeout=60)


def _address(process: subprocess.Popen[str]) -> str:
    """Return the console's URL, read from the lines that the supervisor prints."""
    assert process.stdout
    url = ""
    for line in process.stdout:
        if found := re.search(r"Console\s+(http://\S+?)/admin/", line):
            url = found[1]
        if "Ctrl-C stops everything" in line:
            return url
    raise CannotLook("Groundswell did not start. Run `make run` to see why.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots", description="Take pictures of the console's pages.")
    parser.add_argument("--out", type=Path, default=OUT, help="Folder for the pictures (default: docs/screenshots).")
    parser.add_argument("--url", default="", help="URL of a running server (default: start one, with the demo).")
    parser.add_argument("--account", default="operator", help="Account to sign in with (default: operator).")
    parser.add_argument(
        "--password",
        default=os.environ.get("GROUNDSWELL_PASSWORD", ""),
        help="Its password (default: $GROUNDSWELL_PASSWORD).",
    )
    options = parser.parse_args()
    try:
        named = contextlib.nullcontext((options.url.rstrip("/"), options.account, options.password))
        with named if options.url else own_server() as (url, account, password):
            for line in take(url, account, password, out=options.out):
                print(line, flush=True)
    except CannotLook as problem:
        sys.exit(f"No pictures: {problem}")


if __name__ == "__main__":
    main()
