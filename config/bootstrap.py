"""Makes the virtual environment `.venv` and installs the locked packages.

Every `make` target runs this file first, with the system's Python, from a bare checkout. It uses the standard library
only. Its syntax also parses on a Python that is too old, so that such a Python can print why it is refused.

`requirements-dev.txt` holds everything of `requirements.txt` and the development tools. `--dev` asks for it. A stamp
in `.venv` holds the digests of the installed lock files, so a start with nothing to install takes no time. Every
package is checked against its hash.

uv installs in seconds where pip takes a minute. This file uses uv if the machine has it or if pip can install it
(config/installer.txt pins it by hash too). If uv fails, pip installs the packages. For example, uv cannot reach a
package index that only pip is configured for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

OLDEST, NEWEST = (3, 11), (3, 13)
BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(BASE_DIR, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "groundswell.stamp")
INSTALLER = os.path.join(BASE_DIR, "config", "installer.txt")
SPACE_NEEDED = 1500 * 2**20


class CannotSetUp(Exception):
    """Error whose message explains the problem and the way out."""


def main(arguments: list[str]) -> None:
    is_dev = "--dev" in arguments
    locks = ["requirements.txt", "requirements-dev.txt"] if is_dev else ["requirements.txt"]
    wanted = [f"{name} {digest_of(name)}" for name in locks]
    if not set(wanted) <= set(read_stamp()):
        leave_to_a_suitable_python(arguments)
        with one_at_a_time():
            if not set(wanted) <= set(read_stamp()):  # another run may have installed them while this one waited
                set_up(locks[-1], wanted)


def set_up(lock: str, wanted: list[str]) -> None:
    started = time.monotonic()
    free = shutil.disk_usage(BASE_DIR).free
    if free < SPACE_NEEDED:
        raise CannotSetUp(
            f"The packages need {SPACE_NEEDED // 2**20} MB of disk, but {BASE_DIR} has only {free // 2**20} MB free. "
            "Free some space, then run this again."
        )
    say(f"Setting up .venv from {lock}. The first time takes about a minute ...")
    forget_stamp()
    uv = find_uv()
    if not is_usable(PYTHON):
        make_environment(uv)
    uv = uv or install_uv()
    if not (uv and install_with_uv(uv, lock)):
        install_with_pip(lock)
    with open(STAMP + ".new", "w") as file:
        file.write("\n".join([*wanted, ""]))
    os.replace(STAMP + ".new", STAMP)
    say(f"The environment is ready after {time.monotonic() - started:.0f} s.")


# -- the present state -------------------------------------------------------------------------------------


def digest_of(name: str) -> str:
    with open(os.path.join(BASE_DIR, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_stamp() -> list[str]:
    """Return the installed lock files with their digests.

    The list is empty if the environment's Python is missing or if this user may not run it.
    """
    if not os.access(PYTHON, os.X_OK):
        return []
    try:
        with open(STAMP) as file:
            return file.read().splitlines()
    except OSError:
        return []


def forget_stamp() -> None:
    """Remove the stamp: the environment is incomplete until the new stamp is written."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(STAMP)


def is_usable(python: str) -> bool:
    """Return whether this Python runs and has a supported version."""
    code = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    return succeeds([python, "-c", code])


def leave_to_a_suitable_python(arguments: list[str]) -> None:
    """Continue in another Python of this machine if this one is too old or too new."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and is_usable(other):
            os.execv(other, [other, os.path.abspath(__file__), *list(arguments)])  # noqa: S606
    raise CannotSetUp(
        f"Groundswell needs Python {dotted(OLDEST)} to {dotted(NEWEST)}, but {sys.executable} is "
        f"{dotted(sys.version_info[:2])}. No other Python was found on PATH. Install one (Debian 12: "
        "apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3.11 run"
    )


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


# -- the environment ---------------------------------------------------------------------------------------


def find_uv() -> list[str] | None:
    """Return the command that starts a uv of this machine, or None."""
    found = shutil.which("uv")
    for command in (
        [found] if found else None,
        [sys.executable, "-m", "uv"],
        [os.path.join(VENV, "bin", "uv")],
    ):
        if command and succeeds([*command, "--version"]):
            return command
    return None


def make_environment(uv: list[str] | None) -> None:
    """Make the environment with uv or venv, or else with virtualenv.

    Debian packages venv separately, so it may be missing. The last resort is a venv without pip. The system's pip
    then installs into it from outside.
    """
    if os.path.isdir(VENV):
        say("The Python in .venv cannot be used. Perhaps another Python or user made it. Making a new .venv.")
        shutil.rmtree(VENV, onerror=explain_rmtree)
    tries = [[sys.executable, "-m", "venv", VENV]]
    if uv:
        tries.insert(0, [*uv, "venv", "--quiet", "--python", sys.executable, VENV])
    tries.append([sys.executable, "-m", "virtualenv", "--quiet", VENV])
    if succeeds([sys.executable, "-m", "pip", "--python", sys.executable, "--version"]):
        tries.append([sys.executable, "-m", "venv", "--without-pip", VENV])
    for command in tries:
        if succeeds(command) and is_usable(PYTHON):
            return
        shutil.rmtree(VENV, ignore_errors=True)
    raise CannotSetUp(
        f"{sys.executable} cannot make a virtual environment. On Debian and Ubuntu, run as root:\n"
        "    apt-get install python3-venv\nThen run this again. An installed uv or virtualenv will do too."
    )


def explain_rmtree(_function: Any, path: str, error: Any) -> None:
    raise CannotSetUp(f"Cannot remove {path}: {error[1].strerror}. Remove {VENV} as the user who made it.")


# -- the packages ------------------------------------------------------------------------------------------


def pip() -> list[str] | None:
    """Return the environment's pip, or the system's pip working on the environment."""
    if succeeds([PYTHON, "-m", "pip", "--version"]):
        return [PYTHON, "-m", "pip"]
    if succeeds([sys.executable, "-m", "pip", "--python", PYTHON, "--version"]):
        return [sys.executable, "-m", "pip", "--python", PYTHON]
    if succeeds([PYTHON, "-m", "ensurepip"]):
        return [PYTHON, "-m", "pip"]
    return None


def install_uv() -> list[str] | None:
    """Install uv into the environment. This takes four seconds and saves forty."""
    command = pip()
    if command is None:
        return None
    quick = ["--retries", "1", "--timeout", "20", "--disable-pip-version-check", "--quiet"]
    asked = [*command, "install", *quick, "--require-hashes", "-r", INSTALLER]
    return [os.path.join(VENV, "bin", "uv")] if succeeds(asked) else None


def install_with_uv(uv: list[str], lock: str) -> bool:
    # uv compiles bytecode once here, as pip does. Otherwise, with PYTHONDONTWRITEBYTECODE set, every process would
    # compile for itself.
    options = ["--python", PYTHON, "--compile-bytecode", "--require-hashes", "--no-deps"]
    options += ["-r", os.path.join(BASE_DIR, lock)]
    # In a terminal uv shows its progress. Elsewhere it only prints a long list of packages.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    # Trust the certificates that this machine trusts, as pip does. The option has a newer and an older name.
    env = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", **os.environ}
    done = subprocess.call([*uv, "pip", "install", *quiet, *options], cwd=BASE_DIR, env=env)  # noqa: S603
    if done != 0:
        say("uv could not install the packages. Trying pip.")
    return done == 0


def install_with_pip(lock: str) -> None:
    command = pip()
    if command is None:
        raise CannotSetUp(
            "There is no pip for .venv. On Debian and Ubuntu, run as root:\n"
            "    apt-get install python3-venv python3-pip\nThen run this again."
        )
    command += ["install", "--disable-pip-version-check", "--progress-bar", "off", "--no-input"]
    command += ["--require-hashes", "--no-deps", "-r", os.path.join(BASE_DIR, lock)]
    with open(os.path.join(BASE_DIR, lock)) as file:
        n_packages = sum("==" in line and not line.startswith((" ", "#")) for line in file)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, universal_newlines=True, cwd=BASE_DIR)  # noqa: S603
    n_seen = 0
    for line in process.stdout or ():
        if line.startswith("Collecting "):
            n_seen += 1
            name = line.split()[1].split("==")[0]
            progress(f"  {n_seen} of at most {n_packages}: {name}", n_seen)
        elif line.startswith("Installing "):
            say("  unpacking ...")
    if process.wait() != 0:
        raise CannotSetUp(
            "The packages could not be installed. The lines above show the reason. If the package index cannot\n"
            "be reached, check the network. Behind a proxy, set HTTPS_PROXY. For your own index, set\n"
            "PIP_INDEX_URL and UV_INDEX_URL. Then run this again. It continues from here."
        )


# -- small things ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let only one run at a time set up this checkout.

    A second run waits for the first and then finds nothing to do.
    """
    folder = os.open(BASE_DIR, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is setting up .venv. Waiting for it ...")
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:  # a network file system may have no locks
            say("This file system has no locks, so let no other run set up .venv now.")
        yield
    finally:
        os.close(folder)


def succeeds(command: list[str]) -> bool:
    try:
        with open(os.devnull, "w") as nowhere:
            return subprocess.call(command, stdin=nowhere, stdout=nowhere, stderr=nowhere) == 0  # noqa: S603
    except OSError:
        return False


def progress(text: str, n_seen: int) -> None:
    if sys.stdout.isatty():
        sys.stdout.write("\r" + text[:78].ljust(78) + "\r")
        sys.stdout.flush()
    elif n_seen % 10 == 0:
        say(text)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CannotSetUp as problem:
        sys.exit(f"\n{problem}")
    except PermissionError as problem:
        sys.exit(
            f"\n{problem.filename} is closed to this user. Run this as the user who made {BASE_DIR}, "
            "or clone Groundswell into a folder of your own."
        )
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The next run continues from here.")
