"""The arithmetic of the audit chain: the hash of a decision, and the chain's head.

    hash(n) = sha256(canonical JSON of every other field of row n), previous_hash(n) = hash(n - 1), hash(0) = 64 zeros

The chain reveals rows that were changed, removed or inserted behind the service's back. It cannot reveal that someone
rewrote all rows from some row on, or deleted the newest rows. To find that, keep a `ChainHead` somewhere else (a
mail, a ticket, another machine) and compare it. A head is signed with SECRET_KEY, so that a head brought back is
known to be genuine. A head that a former key signed stays genuine while that key is in SECRET_KEY_FALLBACKS.

Pure functions, which know no table.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.core import signing

GENESIS = "0" * 64
MAX_SUBJECT_BYTES = 4096
# the old name stays although the module moved, so that heads signed earlier stay valid
_SALT = "monitoring.chain.Head"


class Entry(NamedTuple):
    """A row of the chain as stored, in the order it is read."""

    id: int
    at: datetime
    by: str
    user_id: int | None
    action: str
    scope: str
    shard: int | None
    subject: Any
    note: str
    before_digest: str
    after_digest: str
    previous_hash: str
    hash: str = ""

    @property
    def digest(self) -> str:
        """Return the hash of its contents: sha256, 64 hex digits."""
        fields = self._asdict()
        del fields["hash"]
        fields["at"] = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        return hashlib.sha256(canonical(fields).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest row of a chain. `ChainHead(0, GENESIS)` is that of an empty one."""

    id: int
    hash: str

    def signed(self) -> str:
        """Return ID:HASH:SIGNATURE, to be kept somewhere else."""
        return signing.Signer(salt=_SALT).sign(f"{self.id}:{self.hash}")

    @classmethod
    def parse(cls, text: str) -> "ChainHead":
        """Read the text of `signed()`. Raises ValueError if it was not signed here."""
        try:
            number, _, digest = signing.Signer(salt=_SALT).unsign(text.strip()).partition(":")
        except signing.BadSignature:
            raise ValueError(
                "this head was not signed with the SECRET_KEY of this site. If the key was changed since, add the"
                " former key to SECRET_KEY_FALLBACKS"
            ) from None
        return cls(int(number), digest)


def canonical(value: Any) -> str:
    """Write JSON with sorted keys and no spaces.

    Raises ValueError on NaN and infinities.

    >>> canonical({"b": [1, None], "a": "ü"})
    '{"a":"ü","b":[1,null]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def storable(subject: Mapping[str, Any]) -> dict[str, Any]:
    """Return a subject as PostgreSQL's jsonb gives it back, so that its hash stays.

    jsonb keeps numbers as decimals: 5e3 comes back as 5000 and -0.0 as 0, so whole floats become integers here.
    Raises ValueError if it is no JSON, holds a NUL or half a character, or is longer than MAX_SUBJECT_BYTES.

    >>> storable({"hit_rate": 0.25, "n": 5e3})
    {'hit_rate': 0.25, 'n': 5000}
    """
    if not isinstance(subject, Mapping):
        raise ValueError("it is no JSON object")
    try:
        text = canonical(_whole(subject))
        n_bytes = len(text.encode())
    except (TypeError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from None
    if n_bytes > MAX_SUBJECT_BYTES:
        raise ValueError(f"it has {n_bytes} bytes (name only ids and counts)")
    if "\\u0000" in text and "\0" in _all_text(subject):
        raise ValueError("it has a NUL character")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else value
    if isinstance(value, Mapping):
        return {_key(key): _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} is not a text")
    return key


def _all_text(value: Any) -> str:
    """Join all texts in a value."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(_all_text(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return "".join(map(_all_text, value))
    return ""
