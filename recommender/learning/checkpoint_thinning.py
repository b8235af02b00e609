"""Drop the checkpoints that nobody needs any more, as `recommender.learning.checkpoint_retention` chooses them."""

import time
from collections.abc import Collection, Mapping
from itertools import chain

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from recommender.learning import checkpoint_retention
from recommender.learning.checkpoint_retention import Kept
from recommender.models import UNFINISHED, Checkpoint, Learner, Revert

LOCK_CLASS = 0x6758  # of our advisory locks

# Past Django, whose delete() would load what it deletes, bytes and all. Children go to the next one kept.
_DROP = """
DELETE FROM recommender_checkpoint AS c WHERE c.id = ANY(%(dropped)s)
       AND NOT EXISTS (SELECT FROM recommender_learner AS l WHERE l.checkpoint_id = c.id)
"""
_ADOPT = """
UPDATE recommender_checkpoint AS c SET parent_id = t.parent
FROM unnest(%(children)s::bigint[], %(parents)s::bigint[]) AS t(child, parent) WHERE c.id = t.child
"""


@transaction.atomic
def thin_checkpoints(shard: int, *, now_s: float | None = None) -> int:
    """Keep of a shard's checkpoints what CHECKPOINT_SCHEDULE says, the active one, those pinned, and those that
    an unfinished revert goes back to. Returns how many were dropped. 5 us a checkpoint, whatever its size.

    Does nothing while somebody else is at it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_CLASS, shard])
        is_alone = cursor.fetchone()[0]
    if not is_alone:
        return 0
    rows = list(
        Checkpoint.objects.filter(shard=shard).values_list("id", "parent_id", "created_at", "n_bytes", "is_pinned")
    )
    kept = checkpoint_retention.choose(
        [Kept(id, at.timestamp(), n_bytes) for id, _, at, n_bytes, _ in rows],
        schedule=settings.CHECKPOINT_SCHEDULE,
        now_s=time.time() if now_s is None else now_s,
        max_bytes=settings.CHECKPOINTS_MAX_BYTES,
        protected={id for id, *_, is_pinned in rows if is_pinned} | _in_use(shard),
    )
    return drop_checkpoints({id: parent for id, parent, *_ in rows}, kept)


def drop_checkpoints(parents: Mapping[int, int | None], kept: Collection[int]) -> int:
    """Drop all of a shard's checkpoints, given with their parents, but those kept and the active one. Children go to
    the nearest ancestor that is kept. Returns how many were dropped."""
    adopted = {
        id: _next_kept(parents, parent, kept)
        for id, parent in parents.items()
        if id in kept and parent is not None and parent not in kept
    }
    dropped = [id for id in parents if id not in kept]
    if not dropped:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_ADOPT, {"children": list(adopted), "parents": list(adopted.values())})
        cursor.execute(_DROP, {"dropped": dropped})
        return int(cursor.rowcount)


def _in_use(shard: int) -> set[int]:
    active = Learner.objects.filter(Q(shard=shard), checkpoint__isnull=False).values_list("checkpoint_id", flat=True)
    asked_for = Revert.objects.filter(state__in=UNFINISHED).values_list("checkpoints", flat=True)
    return {*active, *chain.from_iterable(asked_for)}


def _next_kept(parents: Mapping[int, int | None], id: int | None, kept: Collection[int]) -> int | None:
    while id is not None and id not in kept:
        id = parents.get(id)
    return id
