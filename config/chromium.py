"""Find a Chromium for the console's tests and pictures, or install Debian's.

`python config/chromium.py` is a step of `make test`. Any Python can run it, because it uses the standard library
only. It installs Chromium only if this account may do so. It never downloads Playwright's own browsers. If there is
still no browser afterwards, it prints how to get one and goes on. The browser tests then skip and say why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # a container often has only 64 MB there
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
ADVICE = "Install one (Debian: apt-get install chromium), or name one: CHROMIUM=/path/to/chromium make test"
_APT_S = 600


def find() -> str | None:
    """Return the path of the browser to use, or None if there is none.

    $CHROMIUM comes first, then the first known name on the PATH.
    """
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next((path for path in map(shutil.which, NAMES) if path), None)


def why_not_installed() -> str:
    """Return why this program does not install a browser here, or "" if it may."""
    if os.environ.get("CHROMIUM"):
        return f"CHROMIUM={os.environ['CHROMIUM']} is not a program."
    if not shutil.which("apt-get"):
        return "There is no Chromium here, and no apt-get to install one."
    if os.geteuid() != 0:
        return "There is no Chromium here, and only root may install one."
    return ""


def install() -> bool:
    """Install Chromium with apt-get and return whether there is a browser now."""
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    fetch = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
    for command in (["apt-get", "update", "-qq"], fetch):
        try:
            done = subprocess.run(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_APT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{' '.join(command)} took longer than {_APT_S} s.")
            break
        if done.returncode:
            print((done.stderr or done.stdout).strip()[-500:])
    return find() is not None


def main() -> None:
    if find():
        return
    problem = why_not_installed()
    if not problem:
        print("Installing Chromium for the console's tests ...", flush=True)
        problem = "" if install() else "Chromium could not be installed."
    if problem:
        print(f"{problem} The browser tests will be skipped. {ADVICE}")


if __name__ == "__main__":
    main()
    sys.exit(0)
