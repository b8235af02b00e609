"""Open-addressed hash tables, compiled.

`slots` maps a key to its dense row, or -1. Keys are keyed hashes and so already uniform. A key is its own slot.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int8s = NDArray[np.int8]
Int16s = NDArray[np.int16]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Key = np.uint64


@njit(cache=True)
def mix(a: Key, b: Key) -> Key:
    """Return one key for two (splitmix64's finaliser)."""
    x = np.uint64(a) + np.uint64(0x9E3779B97F4A7C15) * (np.uint64(b) | np.uint64(1))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True)
def find(slots: Int32s, keys: UInt64s, key: Key) -> int:
    """Return the row of a key, or -1."""
    mask = np.uint64(slots.size - 1)
    slot = key & mask
    while True:
        row = slots[slot]
        if row < 0 or keys[row] == key:
            return row
        slot = (slot + np.uint64(1)) & mask


@njit(cache=True)
def find_all(slots: Int32s, keys: UInt64s, wanted: UInt64s) -> Int64s:
    """Return the rows of many keys, int64 (n,), -1 for a key without a row."""
    rows = np.empty(wanted.size, np.int64)
    for i in range(wanted.size):
        rows[i] = find(slots, keys, wanted[i])
    return rows


@njit(cache=True)
def add(slots: Int32s, keys: UInt64s, size: Int64s, key: Key) -> int:
    """Add a row for a key that has none, and return it.

    The caller has made room.
    """
    mask = np.uint64(slots.size - 1)
    slot = key & mask
    while slots[slot] >= 0:
        slot = (slot + np.uint64(1)) & mask
    row = size[0]
    slots[slot] = row
    keys[row] = key
    size[0] = row + 1
    return row


@njit(cache=True)
def fill_slots(slots: Int32s, keys: UInt64s, n: int) -> None:
    """Enter the first n keys, all different, into an emptied index."""
    mask = np.uint64(slots.size - 1)
    for row in range(n):
        slot = keys[row] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = row


@njit(cache=True)
def pair_keys(actor: Key, items: UInt64s) -> UInt64s:
    """Return the keys of an actor's pairs with each of these items, (n,)."""
    keys = np.empty(items.size, np.uint64)
    for i in range(items.size):
        keys[i] = mix(actor, items[i])
    return keys
