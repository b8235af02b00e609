"""Write a Pipeline's state to bytes and read it back, without pickle.

    magic 8 | length of the header 8 | header (JSON: the state, arrays replaced by their place, type and shape)
    | the arrays, little-endian, one after the other | BLAKE2b-256 of all before

Loading a checkpoint runs no code from the file. Equal states give equal bytes, so the digest at the end identifies
the state. 1 GB/s each way.
"""

import json
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GSWCKP02"  # change the number whenever the meaning of the arrays changes
DIGEST_BYTES = 32
ARRAY, TEXTS = "__array__", "__texts__"
TYPES = {"<u8", "<i8", "<i4", "<i2", "|i1", "|u1", "<f8", "<f4"}


class CheckpointCorrupt(ValueError):
    """The bytes are not a complete, unchanged checkpoint of this version."""


def dump(state: dict[str, Any]) -> bytes:
    """Return the bytes of nested dicts of arrays, scalars and lists of texts."""
    chunks: list[bytes] = []
    offset = 0

    def placed(array: NDArray[Any]) -> dict[str, Any]:
        nonlocal offset
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        chunks.append(little.tobytes())
        place = {ARRAY: [offset, little.dtype.str, list(little.shape)]}
        offset += little.nbytes
        return place

    def packed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: packed(value[key]) for key in sorted(value)}
        if isinstance(value, np.ndarray):
            return placed(value)
        if isinstance(value, list) and (not value or isinstance(value[0], str)):
            encoded = [text.encode("utf-8", "surrogatepass") for text in value]
            lengths = np.array([len(text) for text in encoded], np.int64)
            return {TEXTS: [placed(lengths), placed(np.frombuffer(b"".join(encoded), np.uint8))]}
        return value.item() if isinstance(value, np.generic) else value

    header = json.dumps(packed(state), separators=(",", ":"), allow_nan=False).encode()
    body = b"".join([MAGIC, len(header).to_bytes(8, "little"), header, *chunks])
    return body + blake2b(body, digest_size=DIGEST_BYTES).digest()


def load(data: bytes) -> dict[str, Any]:
    """Return the state that `dump` wrote.

    Its arrays are copies. Raises CheckpointCorrupt if any byte differs from the bytes written.
    """
    view = memoryview(data)
    if len(view) < len(MAGIC) + 8 + DIGEST_BYTES or view[: len(MAGIC)] != MAGIC:
        raise CheckpointCorrupt("the bytes are not a checkpoint of this version")
    body = view[:-DIGEST_BYTES]
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != view[-DIGEST_BYTES:]:
        raise CheckpointCorrupt("the checkpoint is damaged: its digest does not match its content")
    start = len(MAGIC) + 8
    end = start + int.from_bytes(view[len(MAGIC) : start], "little")
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
            lengths, blob = (array(place) for place in value[TEXTS])
            ends = np.cumsum(lengths).tolist()
            raw = blob.tobytes()
            return [
                raw[end - length : end].decode("utf-8", "surrogatepass")
                for end, length in zip(ends, lengths.tolist(), strict=True)
            ]
        return {key: unpacked(item) for key, item in value.items()} if isinstance(value, dict) else value

    state = unpacked(json.loads(bytes(body[start:end])))
    assert isinstance(state, dict)  # the digest is right, so `dump` wrote this
    return state


def digest(data: bytes) -> str:
    """Return the digest at the end of a checkpoint, as 64 hex digits."""
    return data[-DIGEST_BYTES:].hex()
