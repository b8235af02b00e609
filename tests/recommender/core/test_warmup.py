"""Test that every part still compiles ahead, and that the stamp is right.

Nothing fails if there is no place to write.
"""

import sys

import pytest
from numba.core.dispatcher import Dispatcher

from recommender.core import warmup
from recommender.core.warmup_parts import PARTS, REST


@pytest.fixture
def folders(tmp_path, monkeypatch):
    found = [tmp_path / "one", tmp_path / "other"]
    monkeypatch.setattr(warmup, "_folders", lambda: iter(found))
    return found


def compiled_loops():
    """Return the core's loops that this process compiled or loaded.

    Each comes with the types it takes.
    """
    return {
        (name, each, signature)
        for name, module in list(sys.modules.items())
        if name.startswith("recommender.core.")
        for each, loop in vars(module).items()
        if isinstance(loop, Dispatcher)
        for signature in loop.signatures
    }


@pytest.mark.parametrize("part", [*PARTS, *REST])
def test_every_part_runs_and_leaves_nothing_of_it_to_compile(part):
    part()
    compiled = compiled_loops()
    assert compiled
    part()
    assert compiled_loops() == compiled


def test_a_stamp_anywhere_says_that_all_is_compiled(folders):
    assert not warmup.is_warm()
    folders[1].mkdir()
    (folders[1] / warmup._stamp()).touch()
    assert warmup.is_warm()


def test_changed_sources_and_another_processor_ask_for_another_stamp(tmp_path, monkeypatch):
    before = warmup._stamp()
    monkeypatch.setattr(warmup, "_processor", lambda: "another")
    assert warmup._stamp() != before
    monkeypatch.undo()
    assert warmup._stamp() == before
    monkeypatch.setattr(warmup, "CORE", tmp_path)
    other = warmup._stamp()
    (tmp_path / "kernels.py").write_text("POINT = 1001\n")
    assert warmup._stamp() not in (before, other)


def test_a_place_that_cannot_be_written_is_passed_over(folders):
    folders[0].write_text("a file where a folder should be")
    warmup._leave_stamp()
    assert [path.name for path in folders[1].iterdir()] == [warmup._stamp()]
    assert warmup.is_warm()


def test_no_place_at_all_is_no_error(folders):
    for folder in folders:
        folder.write_text("a file where a folder should be")
    warmup._leave_stamp()
    assert not warmup.is_warm()


def test_what_cannot_be_compiled_ahead_stops_nobody(folders, monkeypatch, capsys):
    monkeypatch.setattr(warmup, "warm_up", lambda: 1 / 0)
    warmup.main()
    assert "Not compiled ahead (ZeroDivisionError" in capsys.readouterr().out
