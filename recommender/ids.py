"""The limits of an id, and the secret that keys the hashes of ids.

The site gives the ids of actors and items: text of at most MAX_ID characters. Groundswell gives the ids of rows:
whole numbers of at most MAX_ROW_ID. The secret is part of the configuration of every Pipeline made with it.
"""

import hashlib
from functools import lru_cache

from django.conf import settings

from recommender.core.events import Encoder

MAX_ID = 256  # characters of an actor's or an item's id
N_CACHED = 50_000  # names whose key a process keeps, about 8 MB
MAX_ROW_ID = 2**63 - 1  # the largest bigint: PostgreSQL refuses to look up a larger number


def is_id(text: str) -> bool:
    """Return whether a text can be an actor's or an item's id.

    >>> is_id("story-1"), is_id(""), is_id("two\\nlines"), is_id(257 * "x")
    (True, False, False, False)
    """
    return 1 <= len(text) <= MAX_ID and text.isprintable()


def secret() -> str:
    """Return the secret, made from SECRET_KEY: 16 bytes in hex."""
    return hashlib.blake2b(b"groundswell ids", key=settings.SECRET_KEY.encode()[:64], digest_size=16).hexdigest()


def name_hash(actor: str) -> str:
    """Return a replacement for an actor's id where the id itself must not appear.

    It is 64 hex digits that no one can guess without SECRET_KEY.
    """
    return hashlib.blake2b(
        b"groundswell erased " + actor.encode(), key=settings.SECRET_KEY.encode()[:64], digest_size=32
    ).hexdigest()


def encoder() -> Encoder:
    """Return the process's encoder, which turns ids into keys as the learners do."""
    return _encoder(secret())


@lru_cache(maxsize=1)
def _encoder(secret: str) -> Encoder:
    return Encoder(bytes.fromhex(secret), n_cached=N_CACHED)
