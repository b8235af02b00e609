"""The secret that keys the hashes of ids. It travels in the configuration of every Pipeline made with it."""

import hashlib

from django.conf import settings

from recommender.core.events import Encoder


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
