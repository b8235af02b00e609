"""The import contracts of pyproject.toml, and the graph of imports to check."""

import tomllib
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "monitoring", "recommender")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERED = [contract for contract in CONTRACTS if contract["type"] == "layers" and "containers" in contract]


def floors(contract):
    """Return the layers of a contract, top floor first, as names of rooms."""
    return [[each.strip() for each in layer.split("|")] for layer in contract["layers"]]


@cache
def import_graph():
    """Build the graph once per process.

    A test that adds an import to it removes the import again.
    """
    return grimp.build_graph(*PACKAGES, cache_dir=None)
