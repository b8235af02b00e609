"""Build a release and try it: `python -m config.release`, which is `make release`.

    refuse ──> check_fold ──> build the wheel and the sdist into dist/ ──> compare the wheel with the checkout
           ──> install the wheel into a fresh environment ──> `groundswell --version`, `groundswell check`
           ──> store_fixture: the states of this version, for the tests of all later ones

It refuses a working tree with changes, a version without a section in CHANGELOG.md, and a development version
unless `--dev` is given. It refuses a changed fold without a raised FOLD_VERSION (`core.state_versions`). The version
is in `config/__init__.py` only. Nothing is uploaded.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from config import __version__
from config.places import BASE_DIR

PACKAGES = ("config", "monitoring", "recommender")
MAKER = "tests.help.released.make_released_state"


class NotReady(Exception):
    """The message says why there is no release, and what to do."""


def refuse(root: Path, version: str, *, allow_dev: bool) -> None:
    """Raise NotReady if this checkout is not ready for this version."""
    if changed := _run("git", "status", "--porcelain", cwd=root).splitlines():
        raise NotReady(f"Commit or remove your changes first: {len(changed)} files, the first is {changed[0][3:]}.")
    if not re.search(rf"^## {re.escape(version)}(\s|$)", (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        raise NotReady(f"CHANGELOG.md has no section `## {version}`: write one line for each change.")
    if "dev" in version and not allow_dev:
        raise NotReady(f"{version} is a development version: set config/__init__.py, or give ARGS=--dev to try it.")


def check_fold(root: Path, version: str) -> None:
    """Raise NotReady if the fold changed, but FOLD_VERSION did not.

    It folds the stream of the last release's fixture again and compares digests. It takes 15 s.
    """
    _run(sys.executable, "-m", MAKER, "--check", version, cwd=root)


def store_fixture(root: Path, version: str) -> Path | None:
    """Store the states that this version leaves behind, and return their folder.

    None if they are stored already. It takes two minutes.
    """
    folder = root / "tests" / "fixtures" / f"state_{version}"
    if folder.exists():
        return None
    _run(sys.executable, "-m", MAKER, str(folder), cwd=root)
    return folder


def build(root: Path, out: Path) -> tuple[Path, Path]:
    """Build both files, and return the wheel and the sdist."""
    _run(sys.executable, "-m", "hatchling", "build", "-d", str(out), cwd=root)
    stem = f"groundswell-{__version__}"
    return out / f"{stem}-py3-none-any.whl", out / f"{stem}.tar.gz"


def packaged_files(root: Path) -> set[str]:
    """Return the tracked files that a wheel must have: all but lock files."""
    tracked = _run("git", "ls-files", *PACKAGES, cwd=root).splitlines()
    return {name for name in tracked if not re.fullmatch(r"config/\w+\.txt", name)}


def compare(root: Path, wheel: Path) -> None:
    """Raise NotReady if the wheel lacks a file of the packages, or has one more."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    if different := sorted(found ^ packaged_files(root)):
        raise NotReady(f"{wheel.name} and the checkout differ in {len(different)} files: {', '.join(different[:5])}.")


def try_out(root: Path, wheel: Path) -> str:
    """Install the wheel into a fresh environment, and run two commands there.

    Returns what they print.
    """
    with tempfile.TemporaryDirectory(prefix="groundswell-release-") as folder:
        environment = Path(folder) / "venv"
        _run(sys.executable, "-m", "venv", str(environment), cwd=root)
        pip = (str(environment / "bin" / "pip"), "install", "--quiet", "--no-deps", "--disable-pip-version-check")
        _run(*pip, "--require-hashes", "-r", "requirements-web.txt", cwd=root)
        _run(*pip, "--no-index", str(wheel), cwd=root)
        empty = Path(folder) / "empty"
        empty.mkdir()
        groundswell = str(environment / "bin" / "groundswell")
        said = _run(groundswell, "--version", cwd=empty)
        if said.strip() != f"groundswell {__version__}":
            raise NotReady(f"The installed wheel reports `{said.strip()}` instead of {__version__}.")
        return said + _run(groundswell, "check", cwd=empty)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the release, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make release", description="Build a wheel and an sdist, and try it.")
    parser.add_argument("--dev", action="store_true", help="Allow a development version.")
    options = parser.parse_args(arguments)
    try:
        refuse(BASE_DIR, __version__, allow_dev=options.dev)
        _say("Folding the stream of the last release again ...")
        check_fold(BASE_DIR, __version__)
        wheel, sdist = build(BASE_DIR, BASE_DIR / "dist")
        compare(BASE_DIR, wheel)
        _say(f"Built {wheel.name} ({_kib(wheel)} KiB) and {sdist.name} ({_kib(sdist)} KiB) in dist/.")
        _say("Installing the wheel into a fresh environment ...")
        _say(try_out(BASE_DIR, wheel).strip())
        if not options.dev:
            _say("Storing the states of this version ...")
            if folder := store_fixture(BASE_DIR, __version__):
                _say(f"Commit {folder.relative_to(BASE_DIR)} with the release, and never change it.")
    except NotReady as error:
        sys.stderr.write(f"No release. {error}\n")
        return 1
    return 0


def _run(*command: str, cwd: Path) -> str:
    """Run a command, and return what it prints.

    Raises NotReady with the last lines if the command fails.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise NotReady(f"`{' '.join(command[:4])}` failed:\n{end}")
    return done.stdout


def _kib(file: Path) -> int:
    return file.stat().st_size // 1024


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
