"""Write a Pipeline's state as a header and pieces, and read it back.

    state: nested dicts of arrays, scalars and lists of texts
        ──Layout──> header: its structure as JSON, and the BLAKE2b-256 of every piece    digest = hash of the header
                    pieces: the arrays' little-endian rows, in order, at most PIECE_BYTES each
    header + a function that gets pieces by hash ──read──> state, each array made when it is asked for

There is no pickle: loading a checkpoint runs no code from it. Equal states give equal headers, so the header's digest
identifies the state. An array is cut at fixed numbers of rows. So rows that were appended leave the earlier pieces as
they were, and a store that keys pieces by their hash keeps each of them once. Small arrays share pieces.

Nothing here ever holds a whole state as bytes. Writing needs one piece at a time, reading needs one array and one
piece. `dump` and `load` are conveniences for small states and tests: one file of header and pieces. `load` also reads
the format before, GSWCKP02, whose bytes were one block.

    file: magic 8 | digest 32 | length of the JSON 8 | number of pieces 8 | JSON | hashes | each distinct piece once

1 GB/s each way.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

# Change the number whenever the layout changes. PIECE_BYTES and PACKED_BYTES are part of the layout: the digest is of
# the header and the hashes of the pieces. So a change of either gives each state another digest, and needs a new
# FOLD_VERSION (recommender/core/state_versions.py).
MAGIC = b"GSWCKP03"
OLD_MAGIC = b"GSWCKP02"
DIGEST_BYTES = 32
# Large enough that a state of half a gigabyte has about a thousand pieces, small enough to leave a share of them
# unchanged. docs/decisions/0011-checkpoints-in-pieces.md has the figures.
PIECE_BYTES = 2**19
MAX_PIECE_BYTES = 2**24  # the most that a reader accepts
PACKED_BYTES = 2**16  # an array smaller than this shares a piece with its neighbours
ARRAY, TEXTS = "__array__", "__texts__"
TYPES = {"<u8", "<i8", "<u4", "<i4", "<u2", "<i2", "|i1", "|u1", "|b1", "<f8", "<f4"}

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
        return _parsed(self)[0]

    @property
    def n_bytes(self) -> int:
        """Return the number of bytes of the header and of its distinct pieces."""
        distinct = dict(zip(self.hashes, self.lengths, strict=True))
        return len(self.text) + DIGEST_BYTES * len(self.hashes) + sum(distinct.values())


class Layout:
    """The pieces of a state, made from its arrays when they are asked for.

    It refers to the arrays, so they must not change while it is used. Only arrays that are not contiguous are copied.

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
            step = _step(little.dtype, array.shape)
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
        self._lengths, self._tree = _parsed(header)
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
        step, start = _step(made.dtype, shape), 0
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


def dump(state: dict[str, Any]) -> bytes:
    """Return the bytes of a file that holds the state."""
    file, layout = io.BytesIO(), Layout(state)
    write_file(file, layout.header, layout.get)
    return file.getvalue()


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


def _parsed(header: Header) -> tuple[list[int], dict[str, Any]]:
    try:
        said = json.loads(header.text)
        lengths, state = said["lengths"], said["state"]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointCorrupt("the checkpoint's header cannot be read") from error
    if len(lengths) != len(header.hashes) or not all(0 <= length <= MAX_PIECE_BYTES for length in lengths):
        raise CheckpointCorrupt("the checkpoint's header names pieces that cannot be")
    return lengths, state


def _step(dtype: np.dtype[Any], shape: Sequence[int]) -> int:
    """Return the bytes of a piece of an array.

    These are whole rows, unless a single row is larger than a piece.
    """
    row = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    return PIECE_BYTES // row * row or PIECE_BYTES


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
