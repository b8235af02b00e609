"""Write a Pipeline's state as a header and pieces.

    state: nested dicts of arrays, scalars and lists of texts
        ──Layout──> header: its structure as JSON, and the BLAKE2b-256 of every piece    digest = hash of the header
                    pieces: the arrays' little-endian rows, in order, at most PIECE_BYTES each
    header + a function that gets pieces by hash ──`checkpoint_reader`──> state

There is no pickle: loading a checkpoint runs no code from it. Equal states give equal headers, so the header's digest
identifies the state. An array is cut at fixed numbers of rows. So rows that were appended leave the earlier pieces as
they were, and a store that keys pieces by their hash keeps each of them once. Small arrays share pieces.

Writing needs one piece at a time, and never a whole state as bytes. `dump` is a convenience for small states and
tests: one file of header and pieces.

    file: magic 8 | digest 32 | length of the JSON 8 | number of pieces 8 | JSON | hashes | each distinct piece once

1 GB/s.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recommender.core import memory

# Change the number whenever the layout changes. PIECE_BYTES and PACKED_BYTES are part of the layout: the digest is of
# the header and the hashes of the pieces. So a change of either gives each state another digest, and needs a new
# FOLD_VERSION (recommender/core/state_versions.py).
MAGIC = b"GSWCKP03"
DIGEST_BYTES = 32
# Large enough that a state of half a gigabyte has about a thousand pieces, small enough to leave a share of them
# unchanged. docs/decisions/0011-checkpoints-in-pieces.md has the figures.
PIECE_BYTES = 2**19
MAX_PIECE_BYTES = 2**24  # the most that a reader accepts
PACKED_BYTES = 2**16  # an array smaller than this shares a piece with its neighbours
ARRAY, TEXTS = "__array__", "__texts__"

Piece = bytes | memoryview
GetPieces = Callable[[Sequence[bytes]], Iterable[Piece]]
"""Return the pieces with these hashes, in this order."""


class CheckpointCorrupt(ValueError):
    """The bytes are not a complete, unchanged checkpoint of a known format."""


@dataclass(frozen=True, slots=True)
class Header:
    """The description of a state: its structure, and the hash of each of its pieces.

    text: JSON. Of an array it has the type, the shape, the number of its first piece and the offset in that piece.
    hashes: 32 bytes each.
    """

    text: str
    hashes: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """Return 64 hex digits that identify the state."""
        encoded = self.text.encode()
        start = MAGIC + len(encoded).to_bytes(8, "little") + len(self.hashes).to_bytes(8, "little")
        return blake2b(b"".join([start, encoded, *self.hashes]), digest_size=DIGEST_BYTES).hexdigest()

    @property
    def lengths(self) -> list[int]:
        """Return the number of bytes of each piece. Raises CheckpointCorrupt."""
        return parse_header(self)[0]

    @property
    def n_bytes(self) -> int:
        """Return the number of bytes of the header and of its distinct pieces."""
        distinct = dict(zip(self.hashes, self.lengths, strict=True))
        return len(self.text) + DIGEST_BYTES * len(self.hashes) + sum(distinct.values())


class Layout:
    """The pieces of a state, made from its arrays when they are asked for.

    It refers to the arrays, so they must not change while it is used. Only arrays that are not contiguous are copied.

    >>> from recommender.core.checkpoint_reader import read
    >>> layout = Layout({"keys": np.arange(3), "n": 3})
    >>> len(layout), read(layout.header, layout.get)["keys"].tolist()
    (1, [0, 1, 2])
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._parts: list[list[memoryview]] = []
        self._pack: list[memoryview] = []
        self._packed: list[list[Any]] = []  # the places in the pack under way, whose piece has no number yet
        self._pack_bytes = 0
        tree = self._laid(state)
        self._end_pack()
        lengths = [sum(len(part) for part in parts) for parts in self._parts]
        self._text = json.dumps({"lengths": lengths, "state": tree}, separators=(",", ":"), allow_nan=False)

    def __len__(self) -> int:
        return len(self._parts)

    def piece(self, number: int) -> Piece:
        """Return a piece: a view of its array, or a small copy if several arrays share it."""
        parts = self._parts[number]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self, number: int) -> None:
        """Give a large piece's memory back to the system.

        Its array loses these values. For a process that ends after it has written the state. No two arrays of a state
        share memory, so every other piece stays as it is.
        """
        parts = self._parts[number]
        if len(parts) == 1 and len(parts[0]) >= PACKED_BYTES:
            memory.release(np.frombuffer(parts[0], np.uint8))

    @cached_property
    def header(self) -> Header:
        """Return the header. The first time, every piece is hashed."""
        return Header(self._text, tuple(hash_of(self.piece(number)) for number in range(len(self))))

    def get(self, hashes: Sequence[bytes]) -> Iterator[Piece]:
        """Return pieces by their hashes."""
        numbers = {each: number for number, each in enumerate(self.header.hashes)}
        return (self.piece(numbers[each]) for each in hashes)

    def _laid(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._laid(value[key]) for key in sorted(value)}
        if isinstance(value, np.ndarray):
            return self._placed(value)
        if isinstance(value, list) and (not value or isinstance(value[0], str)):
            encoded = [text.encode("utf-8", "surrogatepass") for text in value]
            lengths = np.array([len(text) for text in encoded], np.int64)
            return {TEXTS: [self._placed(lengths), self._placed(np.frombuffer(b"".join(encoded), np.uint8))]}
        return value.item() if isinstance(value, np.generic) else value

    def _placed(self, array: NDArray[Any]) -> dict[str, Any]:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        view = little.reshape(-1).view(np.uint8).data if little.nbytes else memoryview(b"")
        place = [little.dtype.str, list(array.shape), len(self._parts), 0]
        if little.nbytes >= PACKED_BYTES:
            step = bytes_a_piece(little.dtype, array.shape)
            self._parts += [[view[start : start + step]] for start in range(0, little.nbytes, step)]
            return {ARRAY: place}
        if self._pack_bytes + little.nbytes > PIECE_BYTES:
            self._end_pack()
        place[3] = self._pack_bytes
        self._packed.append(place)
        self._pack.append(view)
        self._pack_bytes += little.nbytes
        return {ARRAY: place}

    def _end_pack(self) -> None:
        for place in self._packed:
            place[2] = len(self._parts)
        if self._packed:
            self._parts.append(self._pack)
        self._pack, self._packed, self._pack_bytes = [], [], 0


def hash_of(piece: Piece) -> bytes:
    """Return the BLAKE2b-256 of a piece."""
    return blake2b(piece, digest_size=DIGEST_BYTES).digest()


def write_file(file: BinaryIO, header: Header, get: GetPieces) -> None:
    """Write a checkpoint into one file: the header, then each distinct piece once."""
    text = header.text.encode()
    lengths = len(text).to_bytes(8, "little") + len(header.hashes).to_bytes(8, "little")
    file.write(b"".join([MAGIC, bytes.fromhex(header.digest), lengths, text, *header.hashes]))
    for piece in get(list(dict.fromkeys(header.hashes))):
        file.write(piece)


def dump(state: dict[str, Any]) -> bytes:
    """Return the bytes of a file that holds the state."""
    file, layout = io.BytesIO(), Layout(state)
    write_file(file, layout.header, layout.get)
    return file.getvalue()


def parse_header(header: Header) -> tuple[list[int], dict[str, Any]]:
    try:
        said = json.loads(header.text)
        lengths, state = said["lengths"], said["state"]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointCorrupt("the checkpoint's header cannot be read") from error
    if len(lengths) != len(header.hashes) or not all(0 <= length <= MAX_PIECE_BYTES for length in lengths):
        raise CheckpointCorrupt("the checkpoint's header names pieces that cannot be")
    return lengths, state


def bytes_a_piece(dtype: np.dtype[Any], shape: Sequence[int]) -> int:
    """Return the bytes of a piece of an array.

    These are whole rows, unless a single row is larger than a piece.
    """
    row = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    return PIECE_BYTES // row * row or PIECE_BYTES
