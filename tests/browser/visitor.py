"""A visitor with a browser, who notices everything that goes wrong in it."""

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect

from tests.help.patience import PATIENCE_S

# These are axe's own levels. The levels below are matters of taste.
GRAVE = {"serious", "critical"}
# The error of a request that is still open when the page is left.
_GIVEN_UP = "net::ERR_ABORTED"
PATIENCE_MS = 1000 * PATIENCE_S

expect.set_options(timeout=PATIENCE_MS)


class Visitor:
    """One browser context with one page.

    complaints: problems that the console, the page or the network reported.
    """

    def __init__(self, browser: Browser, url: str, *, width: int = 1280, **context: Any) -> None:
        self.url = url
        self.context: BrowserContext = browser.new_context(
            base_url=url,
            viewport={"width": width, "height": 900},
            locale="en-GB",
            timezone_id="Europe/Berlin",
            **context,
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("request", self._asked)

    # -- actions --------------------------------------------------------------------------------------------------

    def sign_in(self, username: str, password: str, *, path: str = "/admin/console/") -> None:
        self.page.goto(f"/admin/login/?next={path}")
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"**{path}")

    def go(self, path: str) -> Page:
        """Open a page, which must exist."""
        response = self.page.goto(path)
        assert response, path
        assert response.status == 200, f"{path}: {response.status}"
        return self.page

    def until(self, condition, *, within_s: float = PATIENCE_S, reload: bool = True):
        """Look again until the condition holds.

        Returns its answer and the seconds it took.
        """
        began = time.monotonic()
        while not (answer := condition()):
            assert time.monotonic() - began < within_s, f"nothing came of it in {within_s} s on {self.page.url}"
            self.page.wait_for_timeout(200 if reload else 50)
            if reload:
                self.page.reload()
        return answer, time.monotonic() - began

    # -- checks ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that nothing has gone wrong so far."""
        assert not self.complaints, "\n".join(self.complaints)

    def grave_barriers(self) -> list[str]:
        """List the barriers for people with a screen reader or weak eyes, a line each."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']} ({each['impact']}): {node['target']} {node['html'][:160]} {_reason(node)}"
            for each in found
            if each["impact"] in GRAVE
            for node in each["nodes"]
        ]

    def overflow(self) -> list[str]:
        """List elements that reach past the right edge, except in something that scrolls."""
        return self.page.evaluate(_OVERFLOW)

    def keep(self, folder: Path, name: str) -> None:
        """Save a picture and the page's source, to look into a failure."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / re.sub(r"[^\w-]+", "-", name)[:120]
        self.page.screenshot(path=f"{stem}.png", full_page=True)
        Path(f"{stem}.html").write_text(self.page.content())

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type} on {self.page.url}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != _GIVEN_UP:
            self.complaints.append(f"{request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.request.method} {response.url}: {response.status}")

    def _asked(self, request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in ("data", "blob") and asked.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"{self.page.url} asks another host: {request.url}")


def _reason(node: dict) -> str:
    return "; ".join(each["message"] for each in [*node["any"], *node["all"], *node["none"]])


_OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width && document.body.scrollWidth <= width) return [];
  const scrolls = (element) => {
    for (let each = element.parentElement; each && each !== document.body; each = each.parentElement)
      if (/auto|scroll|hidden|clip/.test(getComputedStyle(each).overflowX)) return true;
    return false;
  };
  return [...document.body.querySelectorAll("*")]
    .filter((each) => each.getBoundingClientRect().right > width + 1 && !scrolls(each))
    .map((each) => `${each.tagName.toLowerCase()}.${each.className} ${each.textContent.trim().slice(0, 40)}`)
    .concat([`the page is ${document.documentElement.scrollWidth} wide`]).slice(0, 10);
}"""
