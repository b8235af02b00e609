"""The limits of an id, and the secret that keys the hashes of ids.

The site gives the ids of actors and items: text of at most MAX_ID characters. Groundswell gives the ids of rows:
whole numbers of at most MAX_ROW_ID. The secret is part of the configuration of every Pipeline made with it, and the
log holds hashes made with it. So it stays the same for as long as the database lives (`recommender.log.id_secret`).
"""

import hashlib
import re
from functools import lru_cache

from django.conf import settings

from recommender.core.events import Encoder

MAX_ID = 256  # characters of an actor's or an item's id
N_CACHED = 50_000  # names whose key a process keeps, about 8 MB
MAX_ROW_ID = 2**63 - 1  # the largest bigint: PostgreSQL refuses to look up a larger number

_RAW_SECRET = re.compile(r"[0-9A-Fa-f]{32}")


def is_id(text: str) -> bool:
    """Return whether a text can be an actor's or an item's id.

    >>> is_id("story-1"), is_id(""), is_id("two\\nlines"), is_id(257 * "x")
    (True, False, False, False)
    """
    return 1 <= len(text) <= MAX_ID and text.isprintable()


def secret() -> str:
    """Return the secret: 16 bytes in hex.

    It is ID_SECRET if that has 32 hex digits. Any other text is hashed to it: ID_SECRET, or else SECRET_KEY.
    """
    if _RAW_SECRET.fullmatch(settings.ID_SECRET):
        return str(settings.ID_SECRET).lower()
    return secret_of(settings.ID_SECRET or settings.SECRET_KEY)


@lru_cache(maxsize=8)
def secret_of(text: str) -> str:
    """Return the secret that is made from a text.

    >>> secret_of("a text of at least thirty-two characters")
    '6435053b3d868da6d9f8d15b8e52094e'
    """
    return hashlib.blake2b(b"groundswell ids", key=text.encode()[:64], digest_size=16).hexdigest()


def mention_of(actor: str) -> str:
    """Return a pattern that finds an actor's id in a text, as a word of its own.

    >>> [bool(re.search(mention_of("eva"), text)) for text in ("by eva.", "by evan")]
    [True, False]
    """
    return rf"(?<!\w){re.escape(actor)}(?!\w)"


def name_hash(actor: str) -> str:
    """Return a replacement for an actor's id where the id itself must not appear.

    It is 64 hex digits that no one can guess without the secret.
    """
    return _name_hash(actor, bytes.fromhex(secret()))


def name_hashes(actor: str) -> list[str]:
    """Return every hash that stored rows may have of an actor, the present one first.

    Until 0.2.0 they were keyed with SECRET_KEY. They are found as long as it is SECRET_KEY or one of
    SECRET_KEY_FALLBACKS.
    """
    former = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [name_hash(actor), *(_name_hash(actor, key.encode()[:64]) for key in former)]


def _name_hash(actor: str, key: bytes) -> str:
    return hashlib.blake2b(b"groundswell erased " + actor.encode(), key=key, digest_size=32).hexdigest()


def encoder() -> Encoder:
    """Return the process's encoder, which turns ids into keys as the learners do."""
    return _encoder(secret())


@lru_cache(maxsize=1)
def _encoder(secret: str) -> Encoder:
    return Encoder(bytes.fromhex(secret), n_cached=N_CACHED)
