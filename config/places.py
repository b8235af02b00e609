"""Say where code and data are, and how commands are typed.

    checkout   code and data in the checkout                   `make run`, `manage.py COMMAND`
    installed  code in site-packages, data in the folder       `groundswell run`, `groundswell COMMAND`
               that the command is typed in

Data never goes next to installed code. Numba's cache does if that folder is writable. The supervisor imports this
module, so it uses the standard library only.
"""

import os
import tempfile
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent  # of the three packages
IS_CHECKOUT = all((BASE_DIR / name).is_file() for name in ("manage.py", "Makefile", "pyproject.toml"))
WORK_DIR = BASE_DIR if IS_CHECKOUT else Path.cwd()
RUN = "make run" if IS_CHECKOUT else "groundswell run"
COMMAND = "manage.py" if IS_CHECKOUT else "groundswell"


def install(*extras: str) -> str:
    """Return the command that installs these extras."""
    return "make setup" if IS_CHECKOUT else f"pip install 'groundswell[{','.join(extras)}]'"


def choose_numba_cache(home: Path) -> None:
    """Set NUMBA_CACHE_DIR to a folder of the home if Numba could write nowhere.

    Numba refuses to import a loop that it cannot cache. It tries the folder of the source file, then the user's
    cache folder. An account without a home folder, on a read-only installation, has neither.
    """
    if "NUMBA_CACHE_DIR" not in os.environ and not any(map(_is_writable, _numba_folders())):
        os.environ["NUMBA_CACHE_DIR"] = str(home / "numba")


def _numba_folders() -> tuple[Path, Path]:
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return BASE_DIR / "recommender" / "core" / "__pycache__", users / "numba"


def _is_writable(folder: Path) -> bool:
    """Return whether a file can be made in this folder.

    It tries, as Numba does, because permissions alone do not tell.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
