"""What an id may be, and the secret that keys the hashes of ids.

Ids of actors and items are the site's, text of at most MAX_ID characters. Ids of rows are ours, whole numbers of at
most MAX_ROW_ID. The secret travels in the configuration of every Pipeline made with it.
"""

import hashlib

from django.conf import settings

from recommender.core.events import Encoder

MAX_ID = 256  # characters of an actor's or an item's id
MAX_ROW_ID = 2**63 - 1  # what a bigint holds: PostgreSQL refuses to look for more


def is_id(text: str) -> bool:
    """Tell whether a text can be an actor's or an item's id.

    >>> is_id("story-1"), is_id(""), is_id("two\\nlines"), is_id(257 * "x")
    (True, False, False, False)
    """
    return 1 <= len(text) <= MAX_ID and text.isprintable()


def secret() -> str:
    """Hex, 16 bytes, made of SECRET_KEY."""
    return hashlib.blake2b(b"groundswell ids", key=settings.SECRET_KEY.encode()[:64], digest_size=16).hexdigest()


def name_hash(actor: str) -> str:
    """What stands for an actor where its id must not: 64 hex digits that nobody without SECRET_KEY can guess at."""
    return hashlib.blake2b(
        b"groundswell erased " + actor.encode(), key=settings.SECRET_KEY.encode()[:64], digest_size=32
    ).hexdigest()


def encoder() -> Encoder:
    """Ids to keys, as the learners have them."""
    return Encoder(bytes.fromhex(secret()))
