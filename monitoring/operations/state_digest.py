"""The digest of the state that a decision was made on."""

import hashlib
from collections.abc import Sequence

from recommender.models import Learner


def state_digest() -> str:
    """Return the digest of the active checkpoint, "" if there is none.

    With several shards it is the digest of their digests in order. It is a few seconds behind the state.
    """
    digests = list(
        Learner.objects.exclude(checkpoint=None).order_by("shard").values_list("checkpoint__digest", flat=True)
    )
    return one_digest(digests)


def one_digest(digests: Sequence[str]) -> str:
    """Combine the digests of all shards, in order; see `state_digest`."""
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else ""
