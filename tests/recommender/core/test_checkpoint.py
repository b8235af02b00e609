"""Test how a state is cut into pieces and read back."""

import io
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.core import checkpoint, checkpoint_reader
from recommender.core.checkpoint import PIECE_BYTES, CheckpointCorrupt, Layout, write_file
from recommender.core.checkpoint_reader import check, open_file, read


def large(n_rows, *, seed=1):
    """Make a state with a large table, small arrays and names."""
    rng = np.random.default_rng(seed)
    return {
        "table": {
            "keys": rng.integers(0, 2**62, n_rows),
            "counts": rng.integers(0, 99, (n_rows, 3)).astype(np.int32),
        },
        "epoch": np.arange(5),
        "names": ["", "ä", *(f"item-{row}" for row in range(n_rows // 100))],
        "n": n_rows,
        "nothing": np.zeros((0, 4), np.float32),
        "empty": [],
    }


def grown(state, n_more):
    """Append rows to the table."""
    more = large(n_more, seed=2)["table"]
    table = {name: np.concatenate([column, more[name]]) for name, column in state["table"].items()}
    return {**state, "table": table}


def pieces_of(state):
    layout = Layout(state)
    return {hash: bytes(layout.piece(number)) for number, hash in enumerate(layout.header.hashes)}


def same(one, other):
    """Compare nested states, values and types."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


@given(st.integers(0, 400_000))
def test_a_state_comes_back_as_it_was(n_rows):
    state = large(n_rows)
    layout = Layout(state)
    assert same(state, read(layout.header, layout.get))


def test_no_piece_is_larger_than_promised_and_together_they_are_the_state():
    layout = Layout(large(500_000))
    lengths = [len(layout.piece(number)) for number in range(len(layout))]
    assert lengths == layout.header.lengths
    assert max(lengths) <= PIECE_BYTES
    assert layout.header.n_bytes == sum(lengths) + len(layout.header.text) + 32 * len(layout)


def test_equal_states_have_equal_digests_and_other_states_others():
    state = large(100_000)
    digests = {Layout(large(100_000)).header.digest, Layout(dict(reversed(state.items()))).header.digest}
    assert len(digests) == 1
    state["table"]["counts"][77, 1] += 1
    digests.add(Layout(state).header.digest)
    digests.add(Layout(large(100_000) | {"n": 1}).header.digest)
    digests.add(Layout(large(100_000) | {"epoch": np.arange(5, dtype=np.int32)}).header.digest)
    assert len(digests) == 4


def test_appended_rows_leave_the_earlier_pieces_as_they_were():
    state = large(500_000)
    before, after = pieces_of(state), pieces_of(grown(state, 1000))
    table = sum(column.nbytes for column in state["table"].values())
    unchanged = sum(len(after[hash]) for hash in before.keys() & after.keys())
    assert unchanged > 0.85 * table


def test_a_changed_row_changes_one_piece_of_its_column():
    state = large(500_000)
    before = pieces_of(state)
    state["table"]["keys"][123_456] += 1
    after = pieces_of(state)
    assert len(after.keys() - before.keys()) == 1


def test_writing_copies_no_array():
    state = large(500_000)
    piece = Layout(state).piece(1)
    assert isinstance(piece, memoryview)
    assert any(np.shares_memory(np.frombuffer(piece, np.uint8), column) for column in state["table"].values())


def test_an_array_is_read_when_it_is_asked_for():
    layout, asked = Layout(large(500_000)), []

    def get(hashes):
        asked.extend(hashes)
        return layout.get(hashes)

    state = read(layout.header, get)
    assert state["n"] == 500_000
    assert asked == []
    first = state["table"]["keys"]
    assert 0 < len(asked) < len(layout)
    first[:] = 0
    assert state["table"]["keys"].any()
    state["table"]["keys"] = first
    assert not state["table"]["keys"].any()
    assert same(dict(state["table"]), {**state["table"]})


@given(st.data())
def test_a_flipped_byte_of_a_file_is_refused(data):
    written = bytearray(checkpoint.dump(large(20_000)))
    written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CheckpointCorrupt):
        checkpoint_reader.load(bytes(written))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_refused(share):
    written = checkpoint.dump(large(50_000))
    with pytest.raises(CheckpointCorrupt):
        checkpoint_reader.load(written[: int(share * len(written))])


def test_a_piece_that_is_another_one_is_refused():
    layout = Layout(large(500_000))
    first, second = layout.header.hashes[:2]
    state = read(layout.header, lambda hashes: layout.get([second if each == first else each for each in hashes]))
    with pytest.raises(CheckpointCorrupt, match="hash"):
        _ = state["table"]["counts"], state["table"]["keys"]
    with pytest.raises(CheckpointCorrupt, match="hash"):
        check(layout.header, lambda hashes: (b"" for _ in hashes))


def test_a_file_has_each_distinct_piece_once():
    zeros = np.zeros(10 * PIECE_BYTES, np.uint8)
    file, layout = io.BytesIO(), Layout({"zeros": zeros})
    write_file(file, layout.header, layout.get)
    assert file.tell() < 1.1 * PIECE_BYTES
    file.seek(0)
    assert np.array_equal(read(*open_file(file))["zeros"], zeros)


def test_a_type_that_no_checkpoint_has_is_refused():
    with pytest.raises(CheckpointCorrupt, match="unknown type"):
        _ = checkpoint_reader.load(checkpoint.dump({"a": np.zeros(3, "<M8[s]")}))["a"]


class Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def write(self, data):
        return len(data)


def peak_of(call):
    """Return the most bytes that a call had allocated at once."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_writing_and_reading_need_the_memory_of_a_few_pieces():
    state = large(2_000_000)["table"]
    n_bytes = sum(column.nbytes for column in state.values())
    assert n_bytes > 70 * PIECE_BYTES

    def write():
        layout = Layout(state)
        write_file(Nowhere(), layout.header, layout.get)

    layout = Layout(state)
    column = state["keys"]
    assert peak_of(write) < 4 * PIECE_BYTES
    assert peak_of(lambda: read(layout.header, layout.get)["keys"]) < column.nbytes + 4 * PIECE_BYTES
    assert peak_of(lambda: check(layout.header, layout.get)) < 4 * PIECE_BYTES


def test_a_released_piece_gives_its_memory_back_and_no_other():
    state = large(200_000)
    layout = Layout(state)
    pieces = [bytes(layout.piece(number)) for number in range(len(layout))]
    layout.release(1)
    changed = [number for number, piece in enumerate(pieces) if bytes(layout.piece(number)) != piece]
    assert changed == ([1] if sys.platform == "linux" else [])
