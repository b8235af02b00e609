"""Write GSWCKP02, the format of checkpoints up to b6685f3.

The digests of its states are recorded.

magic 8 | length of the header 8 | header | the arrays, one after the other | BLAKE2b-256 of all before
"""

import json
from hashlib import blake2b
from typing import Any

import numpy as np

from recommender.core.checkpoint_reader import OLD_MAGIC
from recommender.core.pipeline import Pipeline


def dump_old(state: dict[str, Any]) -> bytes:
    """Return the bytes of a state as b6685f3 wrote them."""
    chunks: list[bytes] = []
    offset = 0

    def placed(array):
        nonlocal offset
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        chunks.append(little.tobytes())
        place = {"__array__": [offset, little.dtype.str, list(little.shape)]}
        offset += little.nbytes
        return place

    def packed(value):
        if isinstance(value, dict):
            return {key: packed(value[key]) for key in sorted(value)}
        if isinstance(value, np.ndarray):
            return placed(value)
        if isinstance(value, list) and (not value or isinstance(value[0], str)):
            encoded = [text.encode("utf-8", "surrogatepass") for text in value]
            lengths = np.array([len(text) for text in encoded], np.int64)
            return {"__texts__": [placed(lengths), placed(np.frombuffer(b"".join(encoded), np.uint8))]}
        return value.item() if isinstance(value, np.generic) else value

    header = json.dumps(packed(state), separators=(",", ":"), allow_nan=False).encode()
    body = b"".join([OLD_MAGIC, len(header).to_bytes(8, "little"), header, *chunks])
    return body + blake2b(body, digest_size=32).digest()


def old_digest(pipeline: Pipeline) -> str:
    """Return the digest that b6685f3 gave this state."""
    return dump_old(pipeline.state())[-32:].hex()
