"""Arrays whose memory goes back to the system as soon as they are dropped.

The C library keeps freed blocks of up to 32 MB for later, and a table that grows frees many. So large arrays are
mapped: their pages come from the system when they are first written, and go back when the array is dropped. A mapping
is private, so a process that forks has a copy of its own.

Two more parts of a process's memory are of no use most of the time, and `trim` gives them back. The C library keeps
smaller freed blocks, 65 MiB of them in a learner of a million actors. And 90 MiB are pages of LLVM's code, which runs
only when a kernel is compiled or loaded.
"""

import ctypes
import mmap
import sys
from contextlib import suppress
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAPPED_FROM = 1 << 18  # bytes
HUGE_FROM = 1 << 25


def zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array of zeros, as `np.zeros` does.

    Pages that are never written take no memory. From HUGE_FROM bytes on the system is asked for huge pages, because
    probes at random places need them. The last huge page of a smaller array would waste more than probes gain: 35 MiB
    for 300,000 actors, at the same speed.
    """
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    if n_bytes < MAPPED_FROM:
        return np.zeros(shape, dtype)
    mapped = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if n_bytes >= HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapped, dtype, prod(shape)).reshape(shape)


def release(array: NDArray[Any]) -> None:
    """Give the whole pages of a contiguous array back to the system.

    Its values are lost, and its pages read as zeros from then on. The array must own its memory: pages of a mapped
    file would be read from the file again. Only the pages that lie within the array are given back. It does nothing
    on systems other than Linux.
    """
    c = _c_library()
    if c is None or not array.nbytes:
        return
    start = array.__array_interface__["data"][0]
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    n_bytes = (start + array.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if n_bytes > 0:
        c.madvise(ctypes.c_void_p(first), ctypes.c_size_t(n_bytes), mmap.MADV_DONTNEED)


def trim() -> None:
    """Give back the freed blocks of the C library, and the pages of LLVM's code.

    Pages of code are mapped again when they are needed. 10 to 30 ms. It does nothing where the system has
    no such calls.
    """
    c = _c_library()
    if c is None:
        return
    if hasattr(c, "malloc_trim"):  # glibc
        c.malloc_trim(0)
    with suppress(OSError), open("/proc/self/maps", "rb") as mappings:
        for line in mappings:
            if b" r-xp " in line and b"libllvmlite" in line:  # no one can have written to these
                first, end = (int(each, 16) for each in line.split()[0].split(b"-"))
                c.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


@cache
def _c_library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
