"""Tests that docs/explanation/architecture.md matches the tree.

Its files exist, the calls follow its ways, and its floors are those of the contracts.
"""

import re

import pytest

from tests.help.import_contracts import LAYERED, ROOT, floors, import_graph

PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
WAYS = ("event", "read", "decision")
# These are reached without an import: a task gathers findings, and a person opens the console.
HANDED_OVER = {("decision", "monitoring/findings"), ("decision", "monitoring/console")}


def way(name):
    """Return the rows of a way: (room, [paths of its files])."""
    section = PAGE.split(f"<!-- way: {name} -->")[1].split("\n\n")[0]
    rows = re.findall(r"^\| \d+ \| `([\w/]+)` \| ([^|]*) \|", section, re.MULTILINE)
    return [(room, [f"{room}/{file}" for file in re.findall(r"`([\w.]+)`", files)]) for room, files in rows]


def modules_of(room, graph):
    name = room.replace("/", ".")
    return {name} | set(graph.find_descendants(name))


@pytest.fixture(scope="module")
def graph():
    return import_graph()


@pytest.mark.parametrize("name", WAYS)
def test_a_way_enters_no_room_twice_and_names_files_that_are_there(name):
    rows = way(name)
    assert len(rows) >= 5
    rooms = [room for room, _ in rows]
    assert len(set(rooms)) == len(rooms)
    for _, files in rows:
        assert files
        assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("name", WAYS)
def test_each_room_of_a_way_is_called_from_one_before_it(name, graph):
    rows = way(name)
    for place, (room, _) in enumerate(rows[1:], start=1):
        before = {file[:-3].replace("/", ".") for _, files in rows[:place] for file in files}
        called = {imported for module in before for imported in graph.find_modules_directly_imported_by(module)}
        assert called & modules_of(room, graph) or (name, room) in HANDED_OVER, room


def test_the_floors_are_those_of_the_contracts():
    assert len(LAYERED) == 3
    for contract in LAYERED:
        section = PAGE.split(f"### {contract['name']}\n")[1].split("\n#")[0]
        told = [re.findall(r"`(\w+)`", line) for line in re.findall(r"^\d+\. (.*)", section, re.MULTILINE)]
        assert told == floors(contract)


def test_every_room_is_on_the_page():
    for package in ("recommender", "recommender/core", "monitoring"):
        for folder in (ROOT / package).iterdir():
            if (folder / "__init__.py").exists() and folder.name != "migrations":
                assert f"`{folder.name}`" in PAGE, folder


def test_every_invariant_names_a_test():
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| `(tests/[\w/.]+)`[^|]* \|", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 16))
