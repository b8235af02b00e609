"""Test that large arrays are like others, and that their memory goes back."""

import mmap
import os
import sys

import numba
import numpy as np
import pytest

from recommender.core.memory import HUGE_FROM, MAPPED_FROM, release, trim, zeros

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives pages back at once")


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


@LINUX
def test_released_pages_go_back_and_read_as_zeros():
    array = zeros((1 << 26,), np.uint8)
    array[:] = 7
    before = resident()
    release(array[1 << 24 :])
    assert before - resident() > 1 << 25
    assert (array[: 1 << 24] == 7).all()
    assert not array[1 << 24 :].any()


@LINUX
def test_only_whole_pages_within_an_array_are_released():
    array = zeros((MAPPED_FROM,), np.uint8)[: 4 * mmap.PAGESIZE]  # a mapping begins with a page
    array[:] = 7
    release(array[1 : 3 * mmap.PAGESIZE - 1])
    assert np.flatnonzero(array == 0).tolist() == list(range(mmap.PAGESIZE, 2 * mmap.PAGESIZE))
    release(array[10:20])
    release(array[:0])
    assert np.count_nonzero(array) == 3 * mmap.PAGESIZE


@LINUX
def test_blocks_that_were_freed_go_back_when_memory_is_trimmed():
    blocks = [bytes(100_000) for _ in range(1000)]
    del blocks[::2], blocks[:-1]
    before = resident()
    trim()
    assert before - resident() > 1 << 24


@LINUX
def test_kernels_compile_and_run_after_memory_is_trimmed():
    first, second = (numba.njit(lambda x, by=by: x + by) for by in (1, 2))
    assert first(1) == 2
    trim()
    assert (first(1), second(1)) == (2, 3)
