"""Drop the checkpoints that are no longer needed.

`recommender.learning.checkpoints.retention_tiers` chooses them.
"""

import logging
from collections.abc import Collection, Mapping
from datetime import timedelta
from itertools import chain

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from recommender import database_clock
from recommender.learning.checkpoints import piece_table, retention_tiers
from recommender.learning.checkpoints.object_store import StoreUnavailable, present_store
from recommender.learning.checkpoints.retention_tiers import Kept
from recommender.models import UNFINISHED, Checkpoint, Learner, Revert, Upgrade

LOCK_CLASS = 0x6758  # of the advisory locks taken here
logger = logging.getLogger(__name__)

# This is not Django's delete(), which would load the rows it deletes with all their bytes. Children of a dropped
# checkpoint go to its nearest kept ancestor.
_DROP = """
DELETE FROM recommender_checkpoint AS c WHERE c.id = ANY(%(dropped)s)
       AND NOT EXISTS (SELECT FROM recommender_learner AS l WHERE l.checkpoint_id = c.id)
"""
_ADOPT = """
UPDATE recommender_checkpoint AS c SET parent_id = t.parent
FROM unnest(%(children)s::bigint[], %(parents)s::bigint[]) AS t(child, parent) WHERE c.id = t.child
"""
_PIECES = """
SELECT c.id, array_agg(p.hash), array_agg(p.n_bytes) FROM recommender_checkpoint AS c
CROSS JOIN LATERAL (SELECT DISTINCT unnest(c.pieces) AS hash) AS named
JOIN recommender_piece AS p ON p.hash = named.hash AND p.place = c.place
WHERE c.shard = %s GROUP BY c.id
"""


@transaction.atomic
def thin_checkpoints(shard: int, *, now_s: float | None = None) -> int:
    """Drop the checkpoints of a shard that nothing needs, and return their number.

    It keeps the checkpoints that CHECKPOINT_SCHEDULE asks for, the active one, pinned ones, and those that an
    unfinished revert goes back to. It also keeps both checkpoints of an upgrade for RETENTION_DAYS. It does nothing
    while another worker thins the same shard. CHECKPOINTS_MAX_BYTES counts a piece that several checkpoints share
    once. About 5 us a checkpoint, and 3 us a piece above that limit.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_CLASS, shard])
        is_alone = cursor.fetchone()[0]
    if not is_alone:
        return 0
    rows = list(
        Checkpoint.objects.filter(shard=shard).values_list("id", "parent_id", "created_at", "n_bytes", "is_pinned")
    )
    pieces = _pieces(shard) if sum(row[3] for row in rows) > settings.CHECKPOINTS_MAX_BYTES else {}
    kept = retention_tiers.choose(
        [Kept(id, at.timestamp(), n_bytes, pieces.get(id)) for id, _, at, n_bytes, _ in rows],
        schedule=settings.CHECKPOINT_SCHEDULE,
        now_s=database_clock.now().timestamp() if now_s is None else now_s,
        max_bytes=settings.CHECKPOINTS_MAX_BYTES,
        protected={id for id, *_, is_pinned in rows if is_pinned} | _in_use(shard),
    )
    return drop_checkpoints({id: parent for id, parent, *_ in rows}, kept)


def drop_checkpoints(parents: Mapping[int, int | None], kept: Collection[int]) -> int:
    """Drop a shard's checkpoints, except those in `kept` and the active one.

    Children go to their nearest kept ancestor. Returns the number of dropped checkpoints.

    parents: the parent of each checkpoint of the shard.
    """
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


def thin_pieces() -> None:
    """Delete the pieces that no state has named for long enough.

    Those in an object store that does not answer wait for the next time.
    """
    try:
        piece_table.drop_unnamed(present_store())
    except StoreUnavailable as error:
        logger.warning("pieces without a name wait to be deleted: %s", error)


def _pieces(shard: int) -> dict[int, dict[bytes, int]]:
    """Return the pieces of each checkpoint of a shard, with their bytes.

    About 3 us a piece.
    """
    found: dict[int, dict[bytes, int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_PIECES, [shard])
        for id, hashes, lengths in cursor.fetchall():
            found[id] = dict(zip(map(bytes, hashes), lengths, strict=True))
    return found


def _in_use(shard: int) -> set[int]:
    active = Learner.objects.filter(Q(shard=shard), checkpoint__isnull=False).values_list("checkpoint_id", flat=True)
    asked_for = Revert.objects.filter(state__in=UNFINISHED).values_list("checkpoints", flat=True)
    return {*active, *chain.from_iterable(asked_for), *_of_upgrades(shard)}


def _of_upgrades(shard: int) -> set[int]:
    """Return the checkpoints on both sides of each upgrade within retention."""
    recent = Upgrade.objects.filter(shard=shard, created_at__gte=Now() - timedelta(days=settings.RETENTION_DAYS))
    return {each for pair in recent.values_list("before", "after") for each in pair if each is not None}


def _next_kept(parents: Mapping[int, int | None], id: int | None, kept: Collection[int]) -> int | None:
    while id is not None and id not in kept:
        id = parents.get(id)
    return id
