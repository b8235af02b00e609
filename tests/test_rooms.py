"""Tests of the rooms.

No folder is crowded, the tests mirror the code, and every room refuses a wrong import.
"""

import ast
from collections import defaultdict
from itertools import pairwise

import pytest
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract

from tests.help.import_contracts import CONTRACTS, LAYERED, PACKAGES, ROOT, floors, import_graph

LOOSE = {"recommender": 13, "monitoring": 12, "recommender/core": 16}
MOST = 20  # files per folder, __init__ not counted
(LAB,) = [contract for contract in CONTRACTS if contract["type"] == "protected"]


def product_folders():
    """Yield every folder of the three packages that holds Python files.

    Migrations are left out.
    """
    for package in PACKAGES:
        for folder in (ROOT / package, *(ROOT / package).rglob("*/")):
            if folder.name not in ("migrations", "__pycache__") and any(folder.glob("*.py")):
                yield folder


def modules_by_floor(contract):
    """Return the modules of a contract, floor by floor, the top one first."""
    (container,) = contract["containers"]
    return [[f"{container}.{room}" for room in floor] for floor in floors(contract)]


@pytest.fixture(scope="module")
def graph():
    return import_graph()


def is_kept(contract_class, options, graph):
    wanted = {name: str(value) if value is True else value for name, value in options.items()}
    contract = contract_class(options["name"], {"root_packages": list(PACKAGES)}, wanted)
    return contract.check(graph, verbose=False).kept


def with_import(graph, importer, imported, check):
    graph.add_import(importer=importer, imported=imported)
    try:
        return check()
    finally:
        graph.remove_import(importer=importer, imported=imported)


def test_no_folder_is_crowded():
    counts = {
        folder.relative_to(ROOT).as_posix(): sum(file.name != "__init__.py" for file in folder.glob("*.py"))
        for folder in product_folders()
    }
    assert len(counts) > 30
    assert {name: n for name, n in counts.items() if n > LOOSE.get(name, MOST)} == {}


def test_every_folder_is_a_package_with_a_word_about_itself():
    for folder in product_folders():
        init = folder / "__init__.py"
        assert init.exists(), folder
        is_a_room = folder.parent.name in (*PACKAGES, "core", "lab", "attack") and folder.name not in (
            *("management", "templatetags", "core"),
        )
        assert not is_a_room or init.read_text().startswith('"""'), folder


def test_tests_stand_where_the_code_stands():
    for package in ("recommender", "monitoring"):
        for folder in (ROOT / "tests" / package).rglob("*/"):
            if any(folder.glob("test_*.py")):
                assert (ROOT / folder.relative_to(ROOT / "tests")).is_dir(), folder


@pytest.mark.parametrize("contract", LAYERED, ids=lambda contract: contract["name"])
def test_a_wrong_import_is_refused_in_every_room(contract, graph):
    def kept():
        return is_kept(LayersContract, contract, graph)

    assert kept()
    for upper, lower in pairwise(modules_by_floor(contract)):
        for room in lower:
            wrong = room, upper[0]
            assert not graph.direct_import_exists(importer=wrong[0], imported=wrong[1])
            assert not with_import(graph, *wrong, kept), f"{wrong[0]} may import {wrong[1]}"


@pytest.mark.parametrize("contract", LAYERED, ids=lambda contract: contract["name"])
def test_neighbours_on_a_floor_do_not_import_each_other(contract, graph):
    for floor in modules_by_floor(contract):
        for one, other in pairwise(floor):
            assert not with_import(graph, one, other, lambda: is_kept(LayersContract, contract, graph))


def test_a_room_that_no_contract_knows_is_refused(graph):
    for contract in LAYERED:
        (container,) = contract["containers"]
        graph.add_module(f"{container}.annexe")
        try:
            assert not is_kept(LayersContract, contract, graph)
        finally:
            graph.remove_module(f"{container}.annexe")


def test_only_batch_rehearsals_and_commands_use_the_laboratory(graph):
    def kept():
        return is_kept(ProtectedContract, LAB, graph)

    assert kept()
    for room in ("monitoring.console", "recommender.api", "recommender.learning", "config.urls"):
        assert not with_import(graph, room, "recommender.lab.demo.stage", kept)


def test_no_two_classes_have_one_name():
    homes = defaultdict(list)
    for folder in product_folders():
        for file in folder.glob("*.py"):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and node.name != "Command":  # Django's name for each command
                    homes[node.name].append(file.relative_to(ROOT).as_posix())
    assert len(homes) > 300
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}
