"""A Chromium for the console's tests and pictures: the one that is here, or Debian's where this account may install.

`python config/chromium.py` is a step of `make test`, run by any Python: standard library only. Playwright's own
browsers are never downloaded. Where there is none in the end, it says how to get one and goes on: the browser's tests
then skip, and say so.
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
    "--disable-dev-shm-usage",  # a container's is often 64 MB
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
ADVICE = "Install one (Debian: apt-get install chromium), or name one: CHROMIUM=/path/to/chromium make test."
_APT_S = 600


def find() -> str | None:
    """The path of the browser to use: $CHROMIUM, or the first known one on the PATH; None where there is none."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next((path for path in map(shutil.which, NAMES) if path), None)


def why_not_installed() -> str:
    """Why it is not this program that installs a browser here; empty where it may."""
    if os.environ.get("CHROMIUM"):
        return f"CHROMIUM={os.environ['CHROMIUM']} is no program."
    if not shutil.which("apt-get"):
        return "There is no Chromium here, and no apt-get to install one with."
    if os.geteuid() != 0:
        return "There is no Chromium here, and only root may install one."
    return ""


def install() -> bool:
    """By apt-get. Whether there is a browser afterwards."""
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
        print(f"{problem} The tests in a browser will be skipped. {ADVICE}")


if __name__ == "__main__":
    main()
    sys.exit(0)
