"""Test that large arrays are like others, and that their memory goes back."""

import os

import numpy as np
import pytest

from recommender.core.tables.memory import HUGE_FROM, MAPPED_FROM, zeros


def resident() -> int:
    """Return the bytes of memory of this process."""
    with open("/proc/self/statm") as figures:
        return int(figures.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("n_bytes", [0, 8, MAPPED_FROM - 8, MAPPED_FROM, HUGE_FROM + 8])
def test_an_array_is_zero_and_can_be_written(n_bytes):
    array = zeros((n_bytes // 8,), np.int64)
    assert array.dtype == np.int64
    assert array.shape == (n_bytes // 8,)
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert not array.any()
    array[:] = 7
    assert (array == 7).all()


def test_an_array_has_the_shape_asked_for():
    assert zeros((1000, 3, 100), np.int16).shape == (1000, 3, 100)


def test_pages_never_written_take_no_memory_and_dropped_ones_go_back():
    before = resident()
    array = zeros((1 << 26,), np.uint8)
    assert resident() - before < 1 << 24
    array[:] = 1
    assert resident() - before > 1 << 25
    del array
    assert resident() - before < 1 << 24


def test_a_forked_process_has_a_copy_of_its_own():
    array = zeros((MAPPED_FROM,), np.uint8)
    child = os.fork()
    if child == 0:
        array[:] = 1
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not array.any()
