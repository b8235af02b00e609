"""Test that a table is a dictionary of rows, after any adding and dropping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.core.tables import Table
from recommender.core.tables.hashing import MAX_ROWS, add, find, find_all


def add_rows(table: Table, keys) -> None:
    """Add one row for each new key, with the key's low bits as its value."""
    table.reserve(len(keys))
    for key in keys:
        if find(table.slots, table.keys, np.uint64(key)) < 0:
            row = add(table.slots, table.keys, table.size, np.uint64(key))
            table.data["value"][row] = key % 1000


keys = st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1)), max_size=60)


@given(keys, st.sets(st.integers(0, 59)), keys)
def test_a_table_holds_what_was_added_and_kept(first, dropped, second):
    table = Table({"value": (np.int64, ())})
    add_rows(table, first)
    known = list(dict.fromkeys(first))
    kept = [row for row in range(len(known)) if row not in dropped]
    table.keep(np.array(kept, np.int64))
    add_rows(table, second)
    expected = list(dict.fromkeys([known[row] for row in kept] + second))
    assert table.keys[: len(table)].tolist() == expected
    assert table["value"].tolist() == [key % 1000 for key in expected]
    wanted = np.array([*expected, 12345678901], np.uint64)
    missing = -1 if 12345678901 not in expected else expected.index(12345678901)
    assert find_all(table.slots, table.keys, wanted).tolist() == [*range(len(expected)), missing]


@given(keys)
def test_a_restored_table_is_the_same_and_goes_on(first):
    table, other = Table({"value": (np.int64, ())}), Table({"value": (np.int64, ())})
    add_rows(table, first)
    other.restore(table.state())
    for each in (table, other):
        add_rows(each, [1, 2, 3, 2**63])
    assert table.state()["keys"].tolist() == other.state()["keys"].tolist()
    assert table["value"].tolist() == other["value"].tolist()


def test_keys_that_meet_in_one_slot_are_told_apart():
    table = Table({"value": (np.int64, ())})
    colliding = [slot << 32 for slot in range(200)]  # the low bits choose the slot, and all are zero
    add_rows(table, colliding)
    assert find_all(table.slots, table.keys, np.array(colliding, np.uint64)).tolist() == list(range(200))


def test_derived_columns_are_no_state():
    table = Table({"value": (np.int64, ()), "rank": (np.int16, ())}, derived=("rank",))
    assert set(table.state()) == {"keys", "value"}


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        Table({}).restore({"keys": np.array([1, 1], np.uint64)})


def test_keys_that_differ_in_their_middle_bits_only_are_told_apart():
    """They share their slot and the byte that a slot holds of a key."""
    table = Table({"value": (np.int64, ())})
    alike = [(7 << 56) | (middle << 32) | 5 for middle in range(300)]
    add_rows(table, alike)
    assert find_all(table.slots, table.keys, np.array(alike, np.uint64)).tolist() == list(range(300))


def test_there_is_room_for_as_many_rows_as_a_table_says():
    table = Table({"value": (np.int64, ())})
    rng = np.random.default_rng(1)
    table.reserve(1)
    for _ in range(14):
        room = table.room
        for key in rng.integers(0, 2**64, room, dtype=np.uint64).tolist():
            row = add(table.slots, table.keys, table.size, np.uint64(key))
            table.data["value"][row] = key % 1000
        assert table.room == 0
        keys = table.keys[: len(table)].copy()
        assert find_all(table.slots, table.keys, keys).tolist() == list(range(len(table)))
        assert find_all(table.slots, table.keys, keys + np.uint64(1)).tolist() == [-1] * len(table)
        assert table.reserve(1)
    assert table["value"].tolist() == [key % 1000 for key in table.keys[: len(table)].tolist()]
    assert len(table) > 5000


def test_a_table_says_when_it_cannot_grow():
    with pytest.raises(ValueError, match="use more shards"):
        Table({}).reserve(MAX_ROWS + 1)


def test_a_wider_column_of_an_earlier_version_is_narrowed():
    narrow = Table({"weight": (np.int16, ())})
    narrow.restore({"keys": np.array([1, 2], np.uint64), "weight": np.array([-(2**15), 2**15 - 1], np.int64)})
    assert narrow["weight"].dtype == np.int16
    assert narrow["weight"].tolist() == [-(2**15), 2**15 - 1]


@pytest.mark.parametrize("value", [2**15, -(2**15) - 1, 2**40])
def test_a_value_that_does_not_fit_is_refused(value):
    narrow = Table({"weight": (np.int16, ())})
    with pytest.raises(ValueError, match="a value of column weight does not fit into int16"):
        narrow.restore({"keys": np.array([1], np.uint64), "weight": np.array([value], np.int64)})


def test_rows_that_are_dropped_give_their_pages_back():
    table = Table({"value": (np.int64, ())})
    add_rows(table, range(1, 100_001))
    table.keep(np.arange(10))
    assert table["value"].tolist() == list(range(1, 11))
    assert np.count_nonzero(table.data["value"][10:]) < 1000  # the first and the last page hold other values too
    add_rows(table, range(200_001, 200_100))
    assert table["value"][10:].tolist() == [key % 1000 for key in range(200_001, 200_100)]
