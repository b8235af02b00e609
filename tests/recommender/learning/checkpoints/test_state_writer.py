"""Test that stored pieces are whole, also when their memory is given back at once."""

import sys

import numpy as np
import pytest

from recommender.core.checkpoint import PIECE_BYTES, Layout, hash_of
from recommender.core.memory import zeros
from recommender.learning.checkpoints import state_writer
from recommender.models import Piece

pytestmark = pytest.mark.django_db(transaction=True)


def array(of):
    made = zeros((3 * PIECE_BYTES // 8,), np.int64)
    made[:] = of
    return made


@pytest.mark.parametrize("is_last_use", [False, True])
def test_pieces_are_stored_before_their_memory_is_given_back(is_last_use):
    state = {
        "one": array(1),
        "same": array(1),
        "other": array(np.arange(3 * PIECE_BYTES // 8)),
        "small": np.arange(9),
    }
    layout = Layout(state)
    digest = layout.header.digest
    for _ in range(2):  # the second time nothing is sent
        columns = state_writer.keep_layout(layout, is_last_use=is_last_use)
        assert columns["digest"] == digest
        stored = {bytes(row.hash): bytes(row.data) for row in Piece.objects.all()}
        assert set(stored) == set(layout.header.hashes)
        assert all(hash_of(data) == hash for hash, data in stored.items())
    is_gone = is_last_use and sys.platform == "linux"
    assert state["other"].any() != is_gone
    assert state["small"].tolist() == list(range(9))
