"""Arrays whose memory goes back to the system as soon as they are dropped.

The C library keeps freed blocks of up to 32 MB for later, and a table that grows frees many. So large arrays are
mapped: their pages come from the system when they are first written, and go back when the array is dropped. A mapping
is private, so a process that forks has a copy of its own.
"""

import mmap
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAPPED_FROM = 1 << 18  # bytes
HUGE_FROM = 1 << 22


def zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array of zeros, as `np.zeros` does.

    Pages that are never written take no memory. From HUGE_FROM bytes on the system is asked for huge pages, as NumPy
    does. Probes at random places need them.
    """
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    if n_bytes < MAPPED_FROM:
        return np.zeros(shape, dtype)
    mapped = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if n_bytes >= HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(mapped, dtype, prod(shape)).reshape(shape)
