"""Open-addressed hash tables, compiled.

`slots` maps a key to its dense row. Keys are keyed hashes and so already uniform. The low half of a key chooses its
slot, for any number of slots. A slot holds the row and the key's highest byte. So a probe reads another key's row in
one of 256 cases only, and slots may be fuller than without it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int8s = NDArray[np.int8]
Int16s = NDArray[np.int16]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
UInt32s = NDArray[np.uint32]
UInt64s = NDArray[np.uint64]
Key = np.uint64

EMPTY = np.uint32(0xFFFF_FFFF)  # a slot without a row
MAX_ROWS = (1 << 24) - 1  # of a table, since a slot has 24 bits for the row
_LOW, _TAG = np.uint64(0xFFFF_FFFF), np.uint64(0xFF)
_HALF, _TOP, _ROW = np.uint64(32), np.uint64(56), np.uint64(8)
_ONE = np.uint64(1)


@njit(cache=True)
def mix(a: Key, b: Key) -> Key:
    """Return one key for two (splitmix64's finaliser)."""
    x = np.uint64(a) + np.uint64(0x9E3779B97F4A7C15) * (np.uint64(b) | np.uint64(1))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True)
def find(slots: UInt32s, keys: UInt64s, key: Key) -> int:
    """Return the row of a key, or -1."""
    n = np.uint64(slots.size)
    slot = ((key & _LOW) * n) >> _HALF
    tag = key >> _TOP
    while True:
        entry = slots[slot]
        if entry == EMPTY:
            return -1
        if entry & _TAG == tag and keys[np.uint64(entry) >> _ROW] == key:
            return np.int64(np.uint64(entry) >> _ROW)  # type: ignore[return-value]  # an int to Numba
        slot += _ONE
        if slot == n:
            slot = np.uint64(0)


@njit(cache=True)
def find_all(slots: UInt32s, keys: UInt64s, wanted: UInt64s) -> Int64s:
    """Return the rows of many keys, int64 (n,), -1 for a key without a row."""
    rows = np.empty(wanted.size, np.int64)
    for i in range(wanted.size):
        rows[i] = find(slots, keys, wanted[i])
    return rows


@njit(cache=True)
def add(slots: UInt32s, keys: UInt64s, size: Int64s, key: Key) -> int:
    """Add a row for a key that has none, and return it.

    The caller has made room.
    """
    n = np.uint64(slots.size)
    slot = ((key & _LOW) * n) >> _HALF
    while slots[slot] != EMPTY:
        slot += _ONE
        if slot == n:
            slot = np.uint64(0)
    row = size[0]
    slots[slot] = np.uint32((np.uint64(row) << _ROW) | (key >> _TOP))
    keys[row] = key
    size[0] = row + 1
    return row


@njit(cache=True)
def fill_slots(slots: UInt32s, keys: UInt64s, n: int) -> bool:
    """Enter the first n keys into an emptied index.

    Returns False if a key occurs twice. The index is then of no use.
    """
    n_slots = np.uint64(slots.size)
    for row in range(n):
        key = keys[row]
        slot, tag = ((key & _LOW) * n_slots) >> _HALF, key >> _TOP
        while slots[slot] != EMPTY:
            entry = slots[slot]
            if entry & _TAG == tag and keys[np.uint64(entry) >> _ROW] == key:
                return False
            slot += _ONE
            if slot == n_slots:
                slot = np.uint64(0)
        slots[slot] = np.uint32((np.uint64(row) << _ROW) | tag)
    return True


@njit(cache=True)
def pair_keys(actor: Key, items: UInt64s) -> UInt64s:
    """Return the keys of an actor's pairs with each of these items, (n,)."""
    keys = np.empty(items.size, np.uint64)
    for i in range(items.size):
        keys[i] = mix(actor, items[i])
    return keys
