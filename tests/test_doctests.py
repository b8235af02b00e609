"""Tests that every example in a docstring gives the result it shows.

No example uses a server: a test without the database mark may not.
"""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("config", "recommender", "monitoring")


def examples_in(text):
    return sum(line.lstrip().startswith(">>>") for line in text.splitlines())


FILES = sorted(
    file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if examples_in(file.read_text("utf-8"))
)


def name_of(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_example_of_a_module_is_found_and_right(file):
    found = doctest.DocTestFinder().find(import_module(name_of(file)))
    assert sum(len(each.examples) for each in found) == examples_in(file.read_text("utf-8"))
    said, runner = [], doctest.DocTestRunner()
    for each in found:
        runner.run(each, out=said.append)
    assert not runner.failures, "".join(said)


def test_there_are_examples():
    assert {file.relative_to(ROOT).parts[0] for file in FILES} >= {"recommender", "monitoring"}
