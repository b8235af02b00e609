"""The import contracts of pyproject.toml, and the graph of imports that they are held against."""

import tomllib
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "monitoring", "recommender")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERED = [contract for contract in CONTRACTS if contract["type"] == "layers" and "containers" in contract]


def floors(contract):
    """The layers of a contract, top floor first, each as the names of its rooms."""
    return [[each.strip() for each in layer.split("|")] for layer in contract["layers"]]


@cache
def import_graph():
    """Build the graph once a process. A test that adds an import to it takes it back out."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)
