"""Read a Pipeline's state back from a header and pieces.

    header + a function that gets pieces by hash ──read──> state, each array made when it is asked for
    a file ──open_file──> both of these

Reading needs one array and one piece at a time, and never a whole state as bytes. Loading runs no code from a
checkpoint, and each piece is compared with its hash. `core.checkpoint` describes the format.

`load` is a convenience for small states and tests. It also reads the format before, GSWCKP02, whose bytes were one
block. 1 GB/s.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from recommender.core.checkpoint import (
    ARRAY,
    DIGEST_BYTES,
    MAGIC,
    PACKED_BYTES,
    TEXTS,
    CheckpointCorrupt,
    GetPieces,
    Header,
    Piece,
    bytes_a_piece,
    hash_of,
    parse_header,
)

OLD_MAGIC = b"GSWCKP02"
TYPES = {"<u8", "<i8", "<u4", "<i4", "<u2", "<i2", "|i1", "|u1", "|b1", "<f8", "<f4"}


class LazyState(dict[str, Any]):
    """A state, or a part of one, whose arrays are read each time they are asked for.

    An array that is asked for is new and belongs to the caller, so no more of the state is in memory than is used.
    Values that are set are kept like those of any dict.
    """

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return value() if isinstance(value, _Unread) else value

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 - this is the get that it proposes

    def pop(self, key: str, *default: Any) -> Any:
        value = super().pop(key, *default)
        return value() if isinstance(value, _Unread) else value

    def __iter__(self) -> Iterator[str]:  # so that dict(state) and {**state} read values by __getitem__
        return super().__iter__()

    def values(self) -> Iterator[Any]:  # type: ignore[override]  # one at a time
        return (self[key] for key in self)

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        return ((key, self[key]) for key in self)

    def copy(self) -> Self:
        """Return a copy that reads the same arrays."""
        made = type(self)()
        for key in self:
            dict.__setitem__(made, key, dict.__getitem__(self, key))
        return made


@dataclass(frozen=True, slots=True)
class _Unread:
    """An array or a list of texts in a checkpoint."""

    reader: "_PieceReader"
    places: tuple[list[Any], ...]

    def __call__(self) -> Any:
        if len(self.places) == 1:
            return self.reader.array(self.places[0])
        lengths, blob = (self.reader.array(place) for place in self.places)
        return _texts(lengths, blob)


class _PieceReader:
    """Make arrays of the pieces of a header.

    It keeps the pieces that several arrays share.
    """

    def __init__(self, header: Header, get: GetPieces) -> None:
        self._header, self._get = header, get
        self._lengths, self._tree = parse_header(header)
        self._kept: dict[int, Piece] = {}

    def state(self) -> LazyState:
        made = self._made(self._tree)
        if not isinstance(made, LazyState):
            raise CheckpointCorrupt("the checkpoint's header describes no state")
        return made

    def array(self, place: list[Any]) -> NDArray[Any]:
        dtype, shape, number, offset = place
        if dtype not in TYPES:
            raise CheckpointCorrupt(f"the checkpoint holds an array of the unknown type {dtype}")
        made = np.empty(shape, dtype)
        if not made.nbytes:
            return made
        if made.nbytes < PACKED_BYTES:
            if number not in self._kept:
                self._kept[number] = next(self._pieces(number, number + 1))
            packed = np.frombuffer(self._kept[number], np.uint8)[offset : offset + made.nbytes]
            self._fill(made, 0, packed)
            return made
        step, start = bytes_a_piece(made.dtype, shape), 0
        for piece in self._pieces(number, number - (-made.nbytes // step)):
            self._fill(made, start, np.frombuffer(piece, np.uint8))
            start += len(piece)
        if start != made.nbytes:
            raise CheckpointCorrupt("the checkpoint's pieces are shorter than the array they hold")
        return made

    @staticmethod
    def _fill(array: NDArray[Any], start: int, data: NDArray[np.uint8]) -> None:
        flat = array.reshape(-1).view(np.uint8)
        if len(data) == 0 or start + len(data) > len(flat):
            raise CheckpointCorrupt("the checkpoint's pieces do not fit the array they hold")
        flat[start : start + len(data)] = data

    def _pieces(self, first: int, end: int) -> Iterator[Piece]:
        hashes = self._header.hashes[first:end]
        for number, (expected, piece) in enumerate(zip(hashes, self._get(hashes), strict=True), first):
            if len(piece) != self._lengths[number] or hash_of(piece) != expected:
                raise CheckpointCorrupt("a piece of the checkpoint is damaged: its hash does not match its content")
            yield piece

    def _made(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if ARRAY in value:
            return _Unread(self, (value[ARRAY],))
        if TEXTS in value:
            return _Unread(self, tuple(place[ARRAY] for place in value[TEXTS]))
        made = LazyState()
        for key, each in value.items():
            dict.__setitem__(made, key, self._made(each))
        return made


def read(header: Header, get: GetPieces) -> dict[str, Any]:
    """Return a state whose arrays are read with `get` when they are asked for.

    Its use raises CheckpointCorrupt if a piece differs from the one written, and the errors of `get`.
    """
    return _PieceReader(header, get).state()


def check(header: Header, get: GetPieces) -> None:
    """Read every piece once, and keep none.

    Raises CheckpointCorrupt if one is damaged.
    """
    for expected, piece in zip(header.hashes, get(header.hashes), strict=True):
        if hash_of(piece) != expected:
            raise CheckpointCorrupt("a piece of the checkpoint is damaged: its hash does not match its content")


def open_file(file: BinaryIO) -> tuple[Header, GetPieces]:
    """Return the header of a file, and a function that reads its pieces.

    `write_file` wrote the file. It must stay open while pieces are read. Raises CheckpointCorrupt.
    """
    fixed = file.read(len(MAGIC) + DIGEST_BYTES + 16)
    if len(fixed) < len(MAGIC) + DIGEST_BYTES + 16 or not fixed.startswith(MAGIC):
        raise CheckpointCorrupt("the bytes are not a checkpoint of a known format")
    n_text, n_pieces = (int.from_bytes(fixed[at : at + 8], "little") for at in (len(fixed) - 16, len(fixed) - 8))
    end = file.seek(0, io.SEEK_END)
    if len(fixed) + n_text + DIGEST_BYTES * n_pieces > end:
        raise CheckpointCorrupt("the checkpoint is damaged: its header is incomplete")
    file.seek(len(fixed))
    text, hashes = file.read(n_text), file.read(DIGEST_BYTES * n_pieces)
    cut = tuple(hashes[start : start + DIGEST_BYTES] for start in range(0, len(hashes), DIGEST_BYTES))
    header = Header(text.decode("utf-8", "replace"), cut)
    if bytes.fromhex(header.digest) != fixed[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]:
        raise CheckpointCorrupt("the checkpoint is damaged: its digest does not match its content")
    distinct = dict(zip(header.hashes, header.lengths, strict=True))
    starts = dict(zip(distinct, accumulate(distinct.values(), initial=file.tell()), strict=False))
    if file.tell() + sum(distinct.values()) != end:
        raise CheckpointCorrupt("the checkpoint is damaged: it has too few or too many pieces")

    def get(hashes: Sequence[bytes]) -> Iterator[Piece]:
        for each in hashes:
            file.seek(starts[each])
            yield file.read(distinct[each])

    return header, get


def load(data: bytes) -> dict[str, Any]:
    """Return the state in the bytes of a file, of this format or of the one before.

    Raises CheckpointCorrupt if any byte differs from the bytes written.
    """
    if data[: len(OLD_MAGIC)] == OLD_MAGIC:
        return _load_old(data)
    header, get = open_file(io.BytesIO(data))
    check(header, get)
    return read(header, get)


def digest(data: bytes) -> str:
    """Return the digest that a file states of itself.

    The file is of this format or of the one before.
    """
    is_old = data[: len(OLD_MAGIC)] == OLD_MAGIC
    return (data[-DIGEST_BYTES:] if is_old else data[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]).hex()


def _texts(lengths: NDArray[np.int64], blob: NDArray[np.uint8]) -> list[str]:
    ends, raw = np.cumsum(lengths).tolist(), blob.tobytes()
    return [
        raw[end - length : end].decode("utf-8", "surrogatepass")
        for end, length in zip(ends, lengths.tolist(), strict=True)
    ]


def _load_old(data: bytes) -> dict[str, Any]:
    """Return the state in a block of GSWCKP02.

    magic 8 | length of the header 8 | header | the arrays, one after the other | BLAKE2b-256 of all before
    """
    view = memoryview(data)
    body = view[:-DIGEST_BYTES]
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != view[-DIGEST_BYTES:]:
        raise CheckpointCorrupt("the checkpoint is damaged: its digest does not match its content")
    start = len(OLD_MAGIC) + 8
    end = start + int.from_bytes(view[len(OLD_MAGIC) : start], "little")
    arrays = body[end:]

    def array(place: dict[str, Any]) -> NDArray[Any]:
        offset, dtype, shape = place[ARRAY]
        if dtype not in TYPES:
            raise CheckpointCorrupt(f"the checkpoint holds an array of the unknown type {dtype}")
        n = int(np.prod(shape))
        return np.frombuffer(arrays, dtype, n, offset).reshape(shape).copy()

    def unpacked(value: Any) -> Any:
        if isinstance(value, dict) and ARRAY in value:
            return array(value)
        if isinstance(value, dict) and TEXTS in value:
            return _texts(*(array(place) for place in value[TEXTS]))
        return {key: unpacked(item) for key, item in value.items()} if isinstance(value, dict) else value

    state = unpacked(json.loads(bytes(body[start:end])))
    assert isinstance(state, dict)  # the digest is right, so a state was written
    return state
